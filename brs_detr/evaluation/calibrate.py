"""Learn what the scores of a detector mean, and store it with its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from brs_detr.analysis.class_thresholds import ClassThresholds, Goal
from brs_detr.checkpoints.checkpoint import Checkpoint, read_checkpoint
from brs_detr.checkpoints.checkpoint_meta import CALIBRATIONS
from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.checkpoints.safetensors_checkpoint import write_safetensors
from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.errors import UserError
from brs_detr.evaluation.evaluate import Evaluation, evaluate
from brs_detr.evaluation.learn_calibration import choose_thresholds, learn_calibration, rates_by_class
from brs_detr.run.distributed import is_first
from brs_detr.runtime.calibration import Calibration


@dataclass(frozen=True)
class Calibrated:
    """Result of `calibrate`.

    Args:
        path: the checkpoint that was written.
        calibration: what was stored.
        held_out: log loss of a detection on images that were not learnt from, by kind of map.
        evaluation: what it was learnt from, with raw scores.
        thresholds: how those of the classes were chosen; None where all have the default.
        class_rows: objects, threshold, precision, recall and F1 by class name.
    """

    path: Path
    calibration: Calibration
    held_out: dict[str, float]
    evaluation: Evaluation
    thresholds: ClassThresholds | None
    class_rows: dict[str, dict[str, float]]


def calibrate(
    checkpoint: str | Path,
    data: str | Path | CocoSplit | None = None,
    split: str = "val",
    *,
    head: str | None = None,
    goal: Goal | None = None,
    out: Path | None = None,
    device: str | None = None,
    console: Console | None = None,
    trust_file: bool = False,
) -> Calibrated:
    """Learn what scores mean from images with known objects, and write it into a checkpoint.

    Weights and raw scores stay as they are; what was known of the head's scores is replaced. Of several processes that
    `torchrun` started, all of which have to call it, the first one writes.

    Args:
        checkpoint: folder of a run or a file, see `brs_detr.checkpoints.checkpoint.read_checkpoint`.
        data: data set in COCO, Pascal VOC or YOLO format; by default that of the training.
        split: `train`, `val` or `test`; images that the detector was trained on make it look better than it is.
        head: `query`, `roi` or `atss`; by default the one that the config names.
        goal: what the threshold of each class is chosen for; by default all have 0.5.
        out: file to write, `.pth` or `.safetensors`; by default the checkpoint itself.
        device: `cpu`, `cuda`, ...; by default the GPU if there is one.
        console: where progress is shown.
        trust_file: run the code that the checkpoint asks for.

    Raises:
        UserError: the checkpoint or the data cannot be used, nothing that is found is right, or the file would lose
            something.
    """
    content = read_checkpoint(checkpoint, trust_file)
    path = out or content.path
    _require_writable(content.path, path, trust_file)
    evaluation = evaluate(content, data, split, head=head, device=device, console=console)
    dataset = read_annotations(evaluation.split.annotation_file)
    learnt = learn_calibration(evaluation.matching, dataset, content.class_names)
    if learnt is None:
        raise UserError(
            f"Nothing that {content.path} finds on {evaluation.split.annotation_file} is right.",
            "Train longer, or give images that show what it was trained for.",
        )
    calibration, held_out = learnt
    chosen = None
    if goal is not None:
        chosen = choose_thresholds(evaluation.matching, dataset, calibration, content.class_names, goal)
        calibration = replace(calibration, thresholds=chosen.thresholds, goal=str(goal))
    if is_first():
        store_calibration(content, head or content.head, calibration, path)
    rows = rates_by_class(evaluation.matching, dataset, calibration, content.class_names)
    return Calibrated(path, calibration, held_out, evaluation, chosen, rows)


def store_calibration(checkpoint: Checkpoint, head: str, calibration: Calibration, path: Path) -> None:
    """Write a checkpoint that knows what the scores of a head mean; the file is whole or as it was."""
    import torch

    stored = {**checkpoint.meta.get(CALIBRATIONS, {}), head: calibration.to_json()}
    meta = {**checkpoint.meta, CALIBRATIONS: stored}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        write_safetensors(path, checkpoint.state_dict, meta)
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        torch.save({"meta": meta, "state_dict": checkpoint.state_dict}, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _require_writable(source: Path, path: Path, trust_file: bool) -> None:
    """Refuse to write over what is more than a detector, and into a file of another kind."""
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise UserError(f"{path} ends neither in .pth nor in .safetensors.", "These are the formats that are written.")
    if path != source and path.exists():
        raise UserError(f"{path} is there already.", "Choose another name with --out FILE.")
    if path == source and path.suffix != ".safetensors":
        more = set(load_plain(source, trust_file, with_values=False)) - {"meta", "state_dict"}
        if more:
            raise UserError(
                f"{source} holds what a training goes on from: {', '.join(sorted(map(str, more)))}.",
                "Calibrate best.pth, or write elsewhere with --out FILE.",
            )
