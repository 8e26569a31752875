"""Calibrate the scores of a detector, store the calibration in its checkpoint, and measure its quality."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from brs_detr.analysis.coco_ap import evaluate_by_protocol
from brs_detr.analysis.curves import ClassThresholds, Goal, class_thresholds, rates_at
from brs_detr.analysis.fit_score_map import Labelled, fit_score_map
from brs_detr.analysis.matching import Matching, read_matching
from brs_detr.analysis.score_measures import ScoredDetections, ScoreMeasures, measure_scores, score_detections
from brs_detr.checkpoints.checkpoint import Checkpoint, read_checkpoint
from brs_detr.checkpoints.plain_file import CALIBRATIONS, load_plain, write_safetensors
from brs_detr.data.annotations import class_names_of, read_annotations
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.errors import UserError, shortened
from brs_detr.evaluation.evaluate import Evaluation, evaluate
from brs_detr.files import write_whole, written_whole
from brs_detr.report.detection_figures import reliability_figure
from brs_detr.run.distributed import is_first
from brs_detr.runtime.calibration import Calibration
from brs_detr.runtime.score_map import ScoreMap, logit


@dataclass(frozen=True)
class Calibrated:
    """Result of `calibrate`.

    Args:
        path: the checkpoint that was written.
        calibration: the calibration that was stored.
        held_out: log loss per detection on held-out images, by kind of map.
        evaluation: the evaluation, with raw scores, that the map was fitted to.
        thresholds: how the thresholds of the classes were chosen. None if all have the default.
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
    """Fit a map from scores to probabilities on annotated images, and store it in a checkpoint.

    Weights and raw scores do not change. An earlier calibration of the head is replaced. Under `torchrun`, all
    processes have to call this function, and the first one writes.

    Args:
        checkpoint: run folder or checkpoint file, see `brs_detr.checkpoints.checkpoint.read_checkpoint`.
        data: dataset in COCO, Pascal VOC or YOLO format. By default that of the training.
        split: `train`, `val` or `test`. On training images a detector looks better than it is.
        head: `query`, `roi` or `atss`. By default the one that the config names.
        goal: goal for choosing the threshold of each class. By default all thresholds are 0.5.
        out: file to write, `.pth` or `.safetensors`. By default the checkpoint itself.
        device: `cpu`, `cuda`, ... By default the GPU if there is one.
        console: where to show progress.
        trust_file: run the code that the checkpoint asks for.

    Raises:
        UserError: the checkpoint or the data cannot be used, no detection is right, or the file to write holds more
            than a detector.
    """
    content = read_checkpoint(checkpoint, trust_file)
    path = out or content.path
    _require_writable(content.path, path, trust_file)
    evaluation = evaluate(content, data, split, head=head, device=device, console=console)
    dataset = read_annotations(evaluation.split.annotation_file)
    learnt = learn_calibration(evaluation.matching, dataset, content.class_names)
    if learnt is None:
        raise UserError(
            f"No detection of {content.path} on {evaluation.split.annotation_file} is right.",
            "Train longer, or use images like those it was trained on.",
        )
    calibration, held_out = learnt
    chosen = None
    if goal is not None:
        chosen = class_thresholds(*_mapped(evaluation.matching, dataset, calibration, content.class_names), goal)
        calibration = replace(calibration, thresholds=chosen.thresholds, goal=str(goal))
    if is_first():
        store_calibration(content, head or content.head, calibration, path)
    rows = _rates_by_class(evaluation.matching, dataset, calibration, content.class_names)
    return Calibrated(path, calibration, held_out, evaluation, chosen, rows)


def store_calibration(checkpoint: Checkpoint, head: str, calibration: Calibration, path: Path) -> None:
    """Write a checkpoint with the calibration of a head, atomically."""
    import torch

    stored = {**checkpoint.meta.get(CALIBRATIONS, {}), head: calibration.to_json()}
    meta = {**checkpoint.meta, CALIBRATIONS: stored}
    if path.suffix == ".safetensors":
        write_safetensors(path, checkpoint.state_dict, meta)
        return
    with written_whole(path) as partial:
        torch.save({"meta": meta, "state_dict": checkpoint.state_dict}, partial)


def _require_writable(source: Path, path: Path, trust_file: bool) -> None:
    """Refuse unknown file formats, existing files, and checkpoints that hold more than a detector."""
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise UserError(f"{path} ends neither in .pth nor in .safetensors.", "Only these formats can be written.")
    if path != source and path.exists():
        raise UserError(f"{path} already exists.", "Choose another name with --out FILE.")
    if path == source and path.suffix != ".safetensors":
        more = set(load_plain(source, trust_file, with_values=False)) - {"meta", "state_dict"}
        if more:
            raise UserError(
                f"{source} is needed to resume a training: it holds {', '.join(sorted(map(str, more)))}.",
                "Calibrate best.pth, or write another file with --out FILE.",
            )


def learn_calibration(
    matching: Matching, dataset: Mapping[str, Any], class_names: tuple[str, ...]
) -> tuple[Calibration, dict[str, float]] | None:
    """Fit a calibration to the detections of an evaluation.

    Args:
        matching: which detections are right, with raw scores.
        dataset: COCO object of the evaluated split.
        class_names: class names of the detector, by label.

    Returns:
        The calibration, and the held-out log loss of each kind of map. None if no detection is right.
    """
    labels = _labels(matching.detection_classes, dataset, class_names)
    fitted = fit_score_map(
        Labelled(logit(matching.scores), labels, matching.is_true, matching.images, len(class_names))
    )
    if fitted is None:
        return None
    counts = np.bincount(labels, minlength=len(class_names))
    calibration = Calibration(fitted.score_map, fitted.kind, len(dataset["images"]), tuple(counts.tolist()))
    return calibration, fitted.held_out


def _rates_by_class(
    matching: Matching, dataset: Mapping[str, Any], calibration: Calibration, class_names: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Return the number of objects, and precision, recall and F1 at the threshold, for each class."""
    scores, labels, is_true, num_objects = _mapped(matching, dataset, calibration, class_names)
    thresholds = np.broadcast_to(np.array(calibration.thresholds, np.float64), len(class_names))
    rates = rates_at(scores, labels, is_true, num_objects, thresholds)
    columns = zip(class_names, num_objects.tolist(), thresholds.tolist(), rates.tolist(), strict=True)
    return {
        name: {"objects": number, "threshold": threshold, **dict(zip(("precision", "recall", "F1"), row, strict=True))}
        for name, number, threshold, row in columns
    }


def _mapped(
    matching: Matching, dataset: Mapping[str, Any], calibration: Calibration, class_names: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Return probability, label and correctness of each detection, and the number of objects of each class."""
    labels = _labels(matching.detection_classes, dataset, class_names)
    objects = _labels(matching.object_classes, dataset, class_names)
    scores = calibration.score_map(matching.scores, labels)
    return scores, labels, matching.is_true, np.bincount(objects, minlength=len(class_names))


def _labels(indices: NDArray[np.int64], dataset: Mapping[str, Any], class_names: tuple[str, ...]) -> NDArray[np.int64]:
    """Convert the class indices of a `Matching`, which follow the category ids, to labels of the detector."""
    label_of_name = {name: label for label, name in enumerate(class_names)}
    names = class_names_of(dataset, "the dataset")
    label_of_index = np.array([label_of_name.get(name, -1) for name in names], np.int64)
    labels: NDArray[np.int64] = label_of_index[indices]
    return labels


@dataclass(frozen=True)
class MeasuredScores:
    """Quality of the scores of a head on a split.

    Args:
        head: name of the head.
        raw: measures of the raw scores, with the threshold that the training suggests.
        calibration: calibration of the head, with the classes in the order of the category ids. None without one.
        calibrated: measures of the calibrated scores, with the thresholds of the calibration.
    """

    head: str
    raw: ScoreMeasures
    calibration: Calibration | None = None
    calibrated: ScoreMeasures | None = None

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        record: dict[str, Any] = {"head": self.head, "raw": self.raw.to_json()}
        if self.calibration is None or self.calibrated is None:
            return record
        map_facts = {key: getattr(self.calibration, key) for key in ("kind", "num_images", "goal")}
        return {**record, "map": map_facts, "calibrated": self.calibrated.to_json()}


def measure_calibration(evaluation: Evaluation, checkpoint: Checkpoint, head: str | None = None) -> MeasuredScores:
    """Measure the scores of a head before and after calibration.

    Args:
        evaluation: evaluation of the checkpoint, with raw scores.
        checkpoint: the checkpoint that was evaluated.
        head: the head that was evaluated. By default the one that the config names.
    """
    scored = scored_detections(evaluation)
    raw = measure_scores(scored, checkpoint.thresholds(head, raw_scores=True))
    stored = checkpoint.calibration(head)
    if stored is None:
        return MeasuredScores(head or checkpoint.head, raw)
    calibration = in_order_of(stored, checkpoint.class_names, scored.class_names)
    calibrated = measure_scores(scored.mapped(calibration.score_map), calibration.thresholds)
    return MeasuredScores(head or checkpoint.head, raw, calibration, calibrated)


def scored_detections(evaluation: Evaluation) -> ScoredDetections:
    """Return the detections of an evaluation with raw scores, matched by the protocol of the dataset."""
    file = evaluation.split.annotation_file
    dataset, _ = clean_annotations(read_annotations(file), file)
    matched = evaluate_by_protocol(dataset, evaluation.predictions)
    return score_detections(matched, read_matching(matched), class_names_of(dataset, file))


def write_calibration(measured: MeasuredScores, evaluation: Evaluation, folder: Path) -> None:
    """Write `calibration.json` and `calibration.png`: reliability before and after calibration.

    Args:
        measured: result of `measure_calibration`.
        evaluation: the evaluation that was measured.
        folder: output folder, created if needed. Existing files of these names are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "annotation_file": str(evaluation.split.annotation_file),
        "num_images": evaluation.num_images,
        **measured.to_json(),
    }
    write_whole(folder / "calibration.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    calibrated = None if measured.calibrated is None else measured.calibrated.reliability
    reliability_figure(measured.raw.reliability, calibrated).savefig(folder / "calibration.png")


def in_order_of(calibration: Calibration, class_names: Sequence[str], wanted: Sequence[str]) -> Calibration:
    """Reorder the classes of a calibration.

    Args:
        calibration: calibration of a checkpoint.
        class_names: class names of the checkpoint, by label.
        wanted: the same class names in the new order.

    Raises:
        UserError: the class names differ.
    """
    differing = sorted(set(class_names) ^ set(wanted))
    if differing:
        raise UserError(
            f"The data and the checkpoint have different classes; only one of them has {shortened(differing)}.",
            "Measure the scores on data with the same classes.",
        )
    order = [list(class_names).index(name) for name in wanted]
    thresholds = calibration.thresholds
    return replace(
        calibration,
        score_map=ScoreMap(calibration.score_map.knots[order], calibration.score_map.values[order]),
        num_detections=tuple(calibration.num_detections[label] for label in order),
        thresholds=tuple(thresholds[label] for label in order) if isinstance(thresholds, tuple) else thresholds,
    )
