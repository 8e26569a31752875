"""Measure what the scores of an evaluation are worth, and write it down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brs_detr.analysis.calibration_order import in_order_of
from brs_detr.analysis.coco_ap import evaluate_boxes
from brs_detr.analysis.lvis_ap import DETECTIONS, federated, is_federated
from brs_detr.analysis.matching import read_matching
from brs_detr.analysis.score_measures import ScoredDetections, ScoreMeasures, measure_scores, score_detections
from brs_detr.checkpoints.checkpoint import Checkpoint
from brs_detr.data.annotations import class_names_of, read_annotations
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.evaluation.evaluate import Evaluation
from brs_detr.report.detection_figures import reliability_figure
from brs_detr.runtime.calibration import Calibration


@dataclass(frozen=True)
class MeasuredScores:
    """What the scores of a head are worth on a split.

    Args:
        head: of the checkpoint.
        raw: shown from the threshold that its training suggests.
        calibration: with the classes in the order of the category ids, where the checkpoint has one of the head.
        calibrated: shown from its thresholds.
    """

    head: str
    raw: ScoreMeasures
    calibration: Calibration | None = None
    calibrated: ScoreMeasures | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        record: dict[str, Any] = {"head": self.head, "raw": self.raw.to_json()}
        if self.calibration is None or self.calibrated is None:
            return record
        map_facts = {key: getattr(self.calibration, key) for key in ("kind", "num_images", "goal")}
        return {**record, "map": map_facts, "calibrated": self.calibrated.to_json()}


def measure_calibration(evaluation: Evaluation, checkpoint: Checkpoint, head: str | None = None) -> MeasuredScores:
    """Measure scores before and after the map that the checkpoint has for the head.

    Args:
        evaluation: of the checkpoint, with raw scores.
        checkpoint: what was evaluated.
        head: that was evaluated; by default the one that its config names.
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
    """The detections of an evaluation with their scores as they are, by the protocol of its data set."""
    file = evaluation.split.annotation_file
    dataset, _ = clean_annotations(read_annotations(file), file)
    if is_federated(dataset):
        matched = evaluate_boxes(*federated(dataset, evaluation.predictions), detections=DETECTIONS)
    else:
        matched = evaluate_boxes(dataset, evaluation.predictions)
    return score_detections(matched, read_matching(matched), class_names_of(dataset, file))


def write_calibration(measured: MeasuredScores, evaluation: Evaluation, folder: Path) -> None:
    """Write `calibration.json` and `calibration.png`: reliability before and after.

    Args:
        measured: from `measure_calibration`.
        evaluation: that it was measured on.
        folder: made when it does not exist; files of these names are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "annotation_file": str(evaluation.split.annotation_file),
        "num_images": evaluation.num_images,
        **measured.to_json(),
    }
    (folder / "calibration.json").write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    calibrated = None if measured.calibrated is None else measured.calibrated.reliability
    reliability_figure(measured.raw.reliability, calibrated).savefig(folder / "calibration.png")
