"""Export a checkpoint: write a file, compare it with the model, and keep it only if both find the same."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from brs_detr.checkpoints.checkpoint import Checkpoint, build_model, read_checkpoint
from brs_detr.checkpoints.safetensors_checkpoint import write_safetensors
from brs_detr.errors import UserError
from brs_detr.export.comparison import TOLERANCES, Comparison, compare
from brs_detr.export.describe import describe
from brs_detr.export.formats import FORMATS, OPSETS, Format
from brs_detr.export.half import halve
from brs_detr.export.parity import Parity, require_parity
from brs_detr.export.parity_images import Picture, small_pictures
from brs_detr.export.preparation import PreparedModel
from brs_detr.export.program import export_program
from brs_detr.export.sessions import ModelSession, StagedSession, TorchSession
from brs_detr.export.torch_files import describe_archive, write_compiled, write_program, write_torchscript
from brs_detr.mm.ops.nms_keep import nms_keep_op
from brs_detr.run.bars import stage, track
from brs_detr.run.console import make_console
from brs_detr.runtime.artefact_info import ArtefactInfo
from brs_detr.runtime.detector import Detector
from brs_detr.runtime.session import OnnxSession

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Args:
        format: a key of `brs_detr.export.formats.FORMATS`.
        head: `query`, `roi` or `atss`; None for the one that the config names.
        preprocess: put preprocessing into the file.
        postprocess: put postprocessing into the file.
        precision: of large products.
        fixed_size: (h, w) of the only images that it takes; None for any.
        batch_size: of the only batches that it takes; None for any.
        opset: of ONNX.
        raw_scores: leave scores as they were trained, where the checkpoint could make them probabilities.
    """

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
    checkpoint: Checkpoint,
    out: Path,
    options: ExportOptions,
    pictures: Sequence[Picture],
    *,
    measure_ap: Callable[[Detector], float] | None = None,
    console: Console | None = None,
) -> Exported:
    """Export a checkpoint.

    Args:
        checkpoint: of a detector that knows how (`exportable`), as Co-DETR does.
        out: file to write. Until the comparison has been passed it has another name, and it is deleted if it fails.
        options: what to write.
        pictures: to compare on, beside small ones.
        measure_ap: see `brs_detr.export.parity.require_parity`.
        console: where progress is shown.

    Raises:
        UserError: the model or the options cannot be exported, or the artefact finds something else than the model.
    """
    console = console or make_console()
    if FORMATS[options.format].name == "safetensors":
        return _export_weights(checkpoint, out, options, pictures, console)
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
            [*pictures, *small_pictures(subject.info.preprocessing)],
            measure_ap=measure_ap,
            console=console,
        )
        info = dataclasses.replace(subject.info, parity=measured.summary())
        _finish(partial, info)
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
        model = _build(checkpoint, options.head, options.raw_scores)
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


def _build(checkpoint: Checkpoint, head: str | None, raw_scores: bool = False) -> nn.Module:
    model = build_model(checkpoint, "cpu", head=head, raw_scores=raw_scores)
    if not hasattr(model, "exportable"):
        raise UserError(
            f"{checkpoint.path} holds a {type(model).__name__}; only Co-DETR models can be exported.",
            "Train a config of configs/brs_detr or configs/co_detr.",
        )
    return model


def _export_weights(
    checkpoint: Checkpoint, out: Path, options: ExportOptions, pictures: Sequence[Picture], console: Console
) -> Exported:
    """Write a checkpoint without a pickle; read again, its weights must be the same to the last bit."""
    require_possible(options)
    model = _build(checkpoint, options.head)
    head = str(model.eval_head)
    settings = getattr(model, f"{head}_head").test_cfg
    info = describe(checkpoint, head, settings, preprocess=False, postprocess=True)
    partial = out.with_name(f".{out.stem}.partial{out.suffix}")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_safetensors(partial, checkpoint.state_dict, checkpoint.meta)
        read = read_checkpoint(partial)
        _require_same_weights(checkpoint, read)
        again = build_model(read, "cpu", head=head)
        agreement = Comparison()
        for picture in track(pictures, "comparing", console):
            found = [
                Detector.of(ModelSession(side, info), score_threshold=0)(picture.pixels) for side in (model, again)
            ]
            agreement += compare(found[0], found[1], TOLERANCES["float32"])
        measured = Parity(agreement)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return Exported(out, dataclasses.replace(info, parity=measured.summary()), measured)


def _require_same_weights(checkpoint: Checkpoint, read: Checkpoint) -> None:
    for name, weight in checkpoint.state_dict.items():
        if not torch.equal(weight, read.state_dict[name]):
            raise UserError(f"{name} is another in the file than in the model; the file was deleted.", "Export again.")


def require_possible(options: ExportOptions) -> Format:
    """The format of the options.

    Raises:
        UserError: it cannot hold what the options ask for.
    """
    chosen = FORMATS[options.format]
    if options.format == "onnx" and options.opset not in OPSETS:
        raise UserError(
            f"Opset {options.opset} cannot be written.",
            f"Give --opset {OPSETS[0]} to {OPSETS[-1]}.",
        )
    if options.format == "safetensors" and options != ExportOptions("safetensors", options.head):
        raise UserError("A safetensors file holds all weights as they are.", "Give --head and --out alone.")
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
        from brs_detr.export.onnx_file import write_onnx

        write_onnx(program, info, path, subject.options.opset)
    elif subject.options.format == "aoti":
        write_compiled(program, path)
    else:
        write_program(program, path)


def staged_session(path: Path, info: ArtefactInfo) -> StagedSession:
    """What was written, which has no description yet if it is an archive."""
    return OnnxSession(path, "cpu") if path.suffix == ".onnx" else TorchSession(path, info=info)


def _finish(path: Path, info: ArtefactInfo) -> None:
    if path.suffix == ".onnx":
        from brs_detr.export.onnx_file import finish_onnx

        finish_onnx(path, info)
    else:
        describe_archive(path, info)
