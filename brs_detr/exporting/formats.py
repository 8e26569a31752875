"""The formats of exported files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """A format.

    Args:
        name: on the command line.
        suffix: of its files.
        can_preprocess: preprocessing can be part of a file.
        precisions: that it can hold.
        has_guards: a file refuses images smaller than those it was traced for.
    """

    name: str
    suffix: str
    can_preprocess: bool = False
    precisions: tuple[str, ...] = ("float32", "float16", "bfloat16")
    has_guards: bool = False


OPSETS = range(18, 24)
"""Versions of ONNX's operators that can be written."""

FORMATS = {
    format.name: format
    for format in (
        # onnxruntime has no bfloat16 convolution on a CPU to compare with
        Format("onnx", ".onnx", can_preprocess=True, precisions=("float32", "float16")),
        Format("torch-export", ".pt2", has_guards=True),
        Format("aoti", ".aoti.pt2", has_guards=True),
        Format("torchscript", ".ts"),
    )
}


def format_of(path: Path) -> str | None:
    """Name of the format of an exported file, by its suffix; None for anything else."""
    fitting = [format for format in FORMATS.values() if path.name.endswith(format.suffix) and not path.is_dir()]
    return max(fitting, key=lambda format: len(format.suffix)).name if fitting else None
