"""Export formats and the options of an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brs_detr.errors import UserError


@dataclass(frozen=True)
class Format:
    """An export format.

    Args:
        name: its name on the command line.
        suffix: suffix of its files.
        can_preprocess: whether preprocessing can be part of a file.
        precisions: precisions that it supports.
        has_guards: whether a file refuses images smaller than those it was traced for.
    """

    name: str
    suffix: str
    can_preprocess: bool = False
    precisions: tuple[str, ...] = ("float32", "float16", "bfloat16")
    has_guards: bool = False


OPSETS = range(18, 24)
"""Supported versions of ONNX's operators."""

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
    """Return the name of the export format that a file has by its suffix; None for anything else."""
    fitting = [format for format in FORMATS.values() if path.name.endswith(format.suffix) and not path.is_dir()]
    return max(fitting, key=lambda format: len(format.suffix)).name if fitting else None


@dataclass(frozen=True)
class ExportOptions:
    """What to export; `brs_detr.exporting.export.export` describes the fields.

    Here, None means any size for `fixed_size` and any number of images for `batch_size`.
    """

    format: str = "onnx"
    head: str | None = None
    preprocess: bool = False
    postprocess: bool = True
    precision: str = "float32"
    fixed_size: tuple[int, int] | None = None
    batch_size: int | None = None
    opset: int = OPSETS[0]
    raw_scores: bool = False

    def require_possible(self) -> Format:
        """Return the chosen format.

        Raises:
            UserError: there is no such format, or it does not support the other options.
        """
        if self.format not in FORMATS:
            raise UserError(f"{self.format!r} is not an export format.", f"Choose one of {', '.join(FORMATS)}.")
        chosen = FORMATS[self.format]
        if self.format == "onnx" and self.opset not in OPSETS:
            raise UserError(f"Opset {self.opset} is not supported.", f"Give --opset {OPSETS[0]} to {OPSETS[-1]}.")
        if self.preprocess and not chosen.can_preprocess:
            raise UserError(
                f"{chosen.name} cannot contain the preprocessing, because it fixes image sizes before resizing.",
                "Leave out --preprocess inside, so that brs_detr.runtime does it; or choose --format onnx.",
            )
        if self.precision not in chosen.precisions:
            raise UserError(
                f"{chosen.name} does not support {self.precision}.", f"Choose one of {', '.join(chosen.precisions)}."
            )
        return chosen


def artefact_name(options: ExportOptions) -> str:
    """Return a file name that tells the artefacts of a checkpoint apart."""
    size = "x".join(map(str, options.fixed_size)) if options.fixed_size else None
    precision = None if options.precision == "float32" else options.precision
    parts = ["model", options.head, size, precision, "raw" if options.raw_scores else None]
    return "_".join(part for part in parts if part) + FORMATS[options.format].suffix
