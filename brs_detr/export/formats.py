"""The formats that a model is exported in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A format.

    Args:
        name: on the command line.
        suffix: of its files.
        what: in words.
        can_preprocess: whether preprocessing can be part of a file.
        precisions: that it can hold.
        has_guards: whether a file refuses images that are smaller than those it was traced for.
    """

    name: str
    suffix: str
    what: str
    can_preprocess: bool = False
    precisions: tuple[str, ...] = ("float32", "float16", "bfloat16")
    has_guards: bool = False


OPSETS = range(18, 24)
"""Versions of ONNX's operators that can be written."""

FORMATS = {
    format.name: format
    for format in (
        Format(
            "onnx",
            ".onnx",
            "standard operators; for onnxruntime and most other engines",
            can_preprocess=True,
            precisions=("float32", "float16"),  # onnxruntime has no bfloat16 convolution on a CPU to compare with
        ),
        Format("torch-export", ".pt2", "a program of PyTorch, without the model's Python code", has_guards=True),
        Format("aoti", ".aoti.pt2", "the same compiled for this machine's processor (AOTInductor)", has_guards=True),
        Format("torchscript", ".ts", "for the C++ API and older versions of PyTorch"),
        Format("safetensors", ".safetensors", "weights, config, class names and calibration", precisions=("float32",)),
    )
}
