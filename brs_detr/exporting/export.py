"""Export a checkpoint: write a file, compare it with the model, and keep it only if both agree."""

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
from brs_detr.exporting.formats import FORMATS, OPSETS, ExportOptions, artefact_name
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
class Exported:
    """An exported file that has passed the comparison with its model."""

    path: Path
    info: ArtefactInfo
    parity: Parity


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
        out: file to write; default: a file in the run folder, named after the options.
        format: `onnx`, `torch-export`, `aoti` (compiled for this machine) or `torchscript`.
        head: `query`, `roi` or `atss`; default: the head that the config names.
        static: fix the size of images and batches; implied by `fixed_size` and `batch_size`.
        fixed_size: (h, w) that images are fitted into; default of a static file: the size in testing.
        batch_size: images per batch; default of a static file: 1.
        precision: of convolutions and matrix products.
        opset: version of ONNX's operators, 18 to 23.
        preprocess: resize, normalise and pad inside the file; default: only for ONNX.
        postprocess: select the best detections inside the file.
        raw_scores: export raw scores even if the checkpoint is calibrated.
        data: dataset in COCO, Pascal VOC or YOLO format, to compare on and to measure AP on.
        split: `train`, `val` or `test`; default: `test`, or `val` if there is none.
        overwrite: replace an existing file.
        trust_file: run code that the checkpoint asks for.
        console: shows progress; default: standard output.

    Returns:
        The path, the description stored in the file, and the result of the comparison.

    Raises:
        UserError: the checkpoint, the dataset or the options cannot be used, or the file differs from the model.
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
    options.require_possible()
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
    """Export a checkpoint that is already open.

    Args:
        checkpoint: checkpoint of a detector with a method `exportable`, such as Co-DETR.
        out: file to write; it appears only after the comparison.
        options: what to export.
        images: images to compare on, in addition to small ones.
        measure_ap: returns the AP of a detector on a dataset; only reported.
        console: shows progress.

    Raises:
        UserError: the model or the options cannot be exported, or the file differs from the model.
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
    """The exported head and the models that the file is compared with.

    Args:
        exportable: the head as a module whose inputs and outputs are tensors.
        info: the description to store in the file.
        options: what is exported.
        model: the trained model, in the precision of the file.
        exact: the same in float64.
    """

    exportable: nn.Module
    info: ArtefactInfo
    options: ExportOptions
    model: ModelSession
    exact: ModelSession

    @classmethod
    def of(cls, checkpoint: Checkpoint, options: ExportOptions) -> Subject:
        """Build the head that the options name.

        Raises:
            UserError: the model or the options cannot be exported.
        """
        chosen = options.require_possible()
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
            options,
            smallest_side=exportable.smallest_side if chosen.has_guards else 1,
            has_score_map=hasattr(model, "score_map") and not options.postprocess,
        )
        exact = ModelSession(copy.deepcopy(model).double(), info, torch.float64)
        if options.precision in HALVES:
            for module in (exportable.model, model):
                halve(module, HALVES[options.precision])
        return cls(exportable, info, options, ModelSession(model, info), exact)


def write(subject: Subject, path: Path) -> None:
    """Write the head in the chosen format. The intermediate stages are outputs, too."""
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
    """Open a written file. PyTorch's formats have no description yet, so that it is passed along."""
    return OnnxSession(path, "cpu") if path.suffix == ".onnx" else TorchSession(path, info=info)
