"""Export a checkpoint: write a file, compare it with the model, and keep it only if both compute the same."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import nn

from brs_detr.checkpoints.checkpoint import Checkpoint, build_model, read_checkpoint
from brs_detr.errors import UserError
from brs_detr.exporting.comparison_images import DataSet, NamedImage, small_images, synthetic_images
from brs_detr.exporting.describe import describe, size_in_testing
from brs_detr.exporting.formats import FORMATS, OPSETS, Format
from brs_detr.exporting.parity import Parity, require_parity
from brs_detr.exporting.program import (
    PreparedModel,
    describe_archive,
    export_program,
    halve,
    write_compiled,
    write_torchscript,
)
from brs_detr.exporting.sessions import ModelSession, StagedSession, TorchSession
from brs_detr.mm.ops.nms_keep import nms_keep_op
from brs_detr.run.console import make_console, stage
from brs_detr.run.run_folder import folder_of
from brs_detr.runtime.artefact_info import ArtefactInfo
from brs_detr.runtime.detector import Detector
from brs_detr.runtime.session import OnnxSession

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class ExportOptions:
    """What to export; `export` describes the fields. Here `fixed_size` and `batch_size` None mean any."""

    format: str = "onnx"
    head: str | None = None
    preprocess: bool = False
    postprocess: bool = True
    precision: str = "float32"
    fixed_size: tuple[int, int] | None = None
    batch_size: int | None = None
    opset: int = 18
    raw_scores: bool = False


@dataclass(frozen=True)
class Exported:
    """A file that was shown to give what the model gives."""

    path: Path
    info: ArtefactInfo
    parity: Parity


def artefact_name(options: ExportOptions) -> str:
    """A file name that tells artefacts of one checkpoint apart."""
    size = "x".join(map(str, options.fixed_size)) if options.fixed_size else None
    precision = None if options.precision == "float32" else options.precision
    parts = ["model", options.head, size, precision, "raw" if options.raw_scores else None]
    return "_".join(part for part in parts if part) + FORMATS[options.format].suffix


def export(
    checkpoint: str | Path,
    out: str | Path | None = None,
    *,
    format: Literal["onnx", "torch-export", "aoti", "torchscript"] = "onnx",
    head: str | None = None,
    static: bool = False,
    fixed_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    precision: Literal["float32", "float16", "bfloat16"] = "float32",
    opset: int = OPSETS[0],
    preprocess: bool | None = None,
    postprocess: bool = True,
    raw_scores: bool = False,
    data: str | Path | None = None,
    split: str | None = None,
    overwrite: bool = False,
    trust_file: bool = False,
    console: Console | None = None,
) -> Exported:
    """Export one head of a Co-DETR checkpoint to a file that runs without its code.

    The file is kept only if every stage of it computes what the model computes, on images of many sizes.

    Args:
        checkpoint: run folder or checkpoint.
        out: file to write; by default in the run folder, named after the options.
        format: `onnx`, `torch-export`, `aoti` (compiled for this processor) or `torchscript`.
        head: `query`, `roi` or `atss`; by default the one that the config names.
        static: take images of one size and batches of one size; implied by `fixed_size` and `batch_size`.
        fixed_size: (h, w) that images are fitted into; for a static file by default as in testing.
        batch_size: images at a time; for a static file by default 1.
        precision: of convolutions and matrix products.
        opset: version of ONNX's operators, 18 to 23.
        preprocess: resize, normalise and pad inside the file; by default for ONNX alone.
        postprocess: choose the best detections inside the file.
        raw_scores: leave scores as they were trained, even if the checkpoint is calibrated.
        data: data set to compare AP on: COCO, Pascal VOC or YOLO format.
        split: `train`, `val` or `test`; by default `test`, or `val` if there is none.
        overwrite: replace the file if it exists.
        trust_file: run the code that the checkpoint asks for.
        console: shows progress; by default standard output.

    Returns:
        The path, what the file says about itself, and how close it is to the model.

    Raises:
        UserError: the checkpoint, the data or the options cannot be used, or the file computes something else.
    """
    console = console or make_console()
    content = read_checkpoint(checkpoint, trust_file)
    is_static = static or fixed_size is not None or batch_size is not None
    options = ExportOptions(
        format,
        head,
        preprocess=format == "onnx" if preprocess is None else preprocess,
        postprocess=postprocess,
        precision=precision,
        fixed_size=(fixed_size or size_in_testing(content)) if is_static else None,
        batch_size=(batch_size or 1) if is_static else None,
        opset=opset,
        raw_scores=raw_scores,
    )
    require_possible(options)
    target = folder_of(content.path) / artefact_name(options) if out is None else Path(out)
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists already.", "Add --overwrite, or write elsewhere with --out FILE.")
    images, measure_ap = synthetic_images(), None
    if data is not None:
        data_set = DataSet.open(Path(data), split, content.class_names, console)
        images, measure_ap = [*images, *data_set.images()], data_set.measure_ap
    return export_checkpoint(content, target, options, images, measure_ap=measure_ap, console=console)


def export_checkpoint(
    checkpoint: Checkpoint,
    out: Path,
    options: ExportOptions,
    images: Sequence[NamedImage],
    *,
    measure_ap: Callable[[Detector], float] | None = None,
    console: Console | None = None,
) -> Exported:
    """Export a checkpoint that has been read.

    Args:
        checkpoint: of a detector with a method `exportable`, as Co-DETR has.
        out: file to write; it gets this name only after the comparison.
        options: what to write.
        images: to compare on, besides small ones.
        measure_ap: AP of a detector on a data set, for information.
        console: shows progress.

    Raises:
        UserError: the model or the options cannot be exported, or the file computes something else.
    """
    console = console or make_console()
    subject = Subject.of(checkpoint, options)
    partial = out.with_name(f".{out.stem}.partial{FORMATS[options.format].suffix}")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with stage(f"writing {options.format}", console):
            write(subject, partial)
        measured = require_parity(
            subject.model,
            subject.exact,
            staged_session(partial, subject.info),
            [*images, *small_images(subject.info.preprocessing)],
            measure_ap=measure_ap,
            console=console,
        )
        info = dataclasses.replace(subject.info, parity=measured.summary())
        if options.format == "onnx":
            from brs_detr.exporting.onnx_file import finish_onnx

            finish_onnx(partial, info)
        else:
            describe_archive(partial, info)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return Exported(out, info, measured)


@dataclass(frozen=True)
class Subject:
    """A head that is exported, and what the file is compared with.

    Args:
        exportable: the head as a model of tensors.
        info: what the file will say of itself.
        options: what is written.
        model: the head as training left it, in the precision of the file.
        exact: the same in float64.
    """

    exportable: nn.Module
    info: ArtefactInfo
    options: ExportOptions
    model: ModelSession
    exact: ModelSession

    @classmethod
    def of(cls, checkpoint: Checkpoint, options: ExportOptions) -> Subject:
        """The head of a checkpoint that the options ask for.

        Raises:
            UserError: the model or the options cannot be exported.
        """
        chosen = require_possible(options)
        model = build_model(checkpoint, "cpu", head=options.head, raw_scores=options.raw_scores)
        if not hasattr(model, "exportable"):
            raise UserError(
                f"{checkpoint.path} holds a {type(model).__name__}; only Co-DETR models can be exported.",
                "Train a config of configs/brs_detr or configs/co_detr.",
            )
        head = str(model.eval_head)
        exportable: Any = model.exportable(  # type: ignore[operator]
            head, postprocess=options.postprocess, nms_keep=nms_keep_op if chosen.name == "onnx" else None
        )
        info = describe(
            checkpoint,
            head,
            exportable.settings,
            preprocess=options.preprocess,
            postprocess=options.postprocess,
            precision=options.precision,
            fixed_size=options.fixed_size,
            batch_size=options.batch_size,
            smallest_side=exportable.smallest_side if chosen.has_guards else 1,
            raw_scores=options.raw_scores,
            maps_beside=hasattr(model, "score_map") and not options.postprocess,
        )
        exact = ModelSession(copy.deepcopy(model).double(), info, torch.float64)
        if options.precision in HALVES:
            for module in (exportable.model, model):
                halve(module, HALVES[options.precision])
        return cls(exportable, info, options, ModelSession(model, info), exact)


def require_possible(options: ExportOptions) -> Format:
    """The format of the options.

    Raises:
        UserError: there is no such format, or it cannot hold what the options ask for.
    """
    if options.format not in FORMATS:
        raise UserError(f"{options.format!r} is not an export format.", f"Choose one of {', '.join(FORMATS)}.")
    chosen = FORMATS[options.format]
    if options.format == "onnx" and options.opset not in OPSETS:
        raise UserError(f"Opset {options.opset} cannot be written.", f"Give --opset {OPSETS[0]} to {OPSETS[-1]}.")
    if options.preprocess and not chosen.can_preprocess:
        raise UserError(
            f"Preprocessing cannot be part of {chosen.name}: there the size of an image is fixed before it is resized.",
            "Leave out --preprocess inside; brs_detr.runtime does it beside the file, or choose --format onnx.",
        )
    if options.precision not in chosen.precisions:
        raise UserError(
            f"{chosen.name} cannot hold {options.precision}.", f"Choose one of {', '.join(chosen.precisions)}."
        )
    return chosen


def write(subject: Subject, path: Path) -> None:
    """Write a head of ``images`` and ``image_sizes`` in the format that its options name, stages included."""
    info, model = subject.info, subject.exportable
    sizes = info.preprocessing.fixed_size, info.batch_size
    if subject.options.format == "torchscript":
        write_torchscript(model, *sizes, path)
        return
    prepared = PreparedModel(model, info.preprocessing) if info.preprocessing.inside else model
    program = export_program(prepared, *sizes, model.smallest_side)  # type: ignore[arg-type]
    if subject.options.format == "onnx":
        from brs_detr.exporting.onnx_file import write_onnx

        write_onnx(program, info, path, subject.options.opset)
    elif subject.options.format == "aoti":
        write_compiled(program, path)
    else:
        torch.export.save(program, path)


def staged_session(path: Path, info: ArtefactInfo) -> StagedSession:
    """What was written, which has no description yet if it is an archive."""
    return OnnxSession(path, "cpu") if path.suffix == ".onnx" else TorchSession(path, info=info)
