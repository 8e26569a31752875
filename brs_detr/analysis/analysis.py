"""All results that a report shows about the detections on one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brs_detr.analysis.coco_ap import CocoAP, evaluate_boxes, summarize
from brs_detr.analysis.confusion import (
    ConfusionMatrix,
    ImageErrors,
    boxes_by_image,
    confusion_matrix,
    index_of_category,
    worst_images,
)
from brs_detr.analysis.curves import PRCurve, pr_curves
from brs_detr.analysis.error_types import ErrorType, error_types
from brs_detr.analysis.score_measures import ScoreMeasures, measure_scores, score_detections
from brs_detr.runtime.calibration import Calibration, Thresholds
from brs_detr.runtime.score_map import ScoreMap


@dataclass(frozen=True)
class Analysis:
    """Analysis of a detector on one split.

    Args:
        class_names: in the order of the category ids.
        ap: COCO metrics, overall and per class.
        pr_curves: precision-recall curve of all classes, then of each class.
        raw: quality of the raw scores; the threshold is the one with the best F1.
        calibration: map from raw scores to probabilities, if there is one.
        calibrated: quality of the probabilities, at the thresholds of the calibration.
        shown: COCO results that reach the threshold, with probabilities as scores if there is a calibration.
        confusion: confusion matrix of ``shown``.
        error_types: in the order of `brs_detr.analysis.error_types.TYPES`.
        worst_images: images by number of errors in ``shown``, most first.
    """

    class_names: tuple[str, ...]
    ap: CocoAP
    pr_curves: tuple[PRCurve, ...]
    raw: ScoreMeasures
    calibration: Calibration | None
    calibrated: ScoreMeasures | None
    shown: list[dict[str, Any]]
    confusion: ConfusionMatrix
    error_types: tuple[ErrorType, ...]
    worst_images: tuple[ImageErrors, ...]

    @property
    def scores(self) -> ScoreMeasures:
        """Quality of the scores that users see: the probabilities, if there is a calibration."""
        return self.calibrated or self.raw


def analyse(
    dataset: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    threshold: float | None = None,
    calibration: Calibration | None = None,
) -> Analysis:
    """Analyse detections.

    Args:
        dataset: COCO object from `brs_detr.data.checks.cleaning.clean_annotations`.
        predictions: COCO results with raw scores; may be empty.
        threshold: lowest score for the confusion matrix and the worst images. Default: the thresholds of the
            calibration, or else the one with the best F1 of raw scores.
        calibration: from `brs_detr.evaluation.calibrate`, with the classes in the order of the category ids.
    """
    evaluation = evaluate_boxes(dataset, predictions)
    ap = summarize(evaluation)
    names = tuple(row.name for row in ap.per_class)
    scored = score_detections(evaluation, ap.matching, names)
    raw = measure_scores(scored, ap.metrics["F1_threshold"])
    score_map = None if calibration is None else calibration.score_map
    calibrated = (
        None if calibration is None else measure_scores(scored.mapped(calibration.score_map), calibration.thresholds)
    )
    lowest = (calibrated or raw).thresholds if threshold is None else threshold
    shown = shown_predictions(dataset, predictions, lowest, score_map)
    images = list(boxes_by_image(dataset, shown))
    return Analysis(
        names,
        ap,
        pr_curves(evaluation, {row.name: row.num_boxes for row in ap.per_class}),
        raw,
        calibration,
        calibrated,
        shown,
        confusion_matrix(images, names, lowest),
        error_types(ap.matching, list(boxes_by_image(dataset, predictions)), len(names)),
        worst_images(images),
    )


def shown_predictions(
    dataset: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    thresholds: Thresholds,
    score_map: ScoreMap | None = None,
) -> list[dict[str, Any]]:
    """Return the COCO results that reach the threshold of their class.

    Args:
        dataset: COCO object.
        predictions: COCO results with raw scores; those of unknown categories are left out.
        thresholds: one for all classes, or one per class in the order of the category ids.
        score_map: map from raw scores to probabilities, which are then the scores of the result.
    """
    index_of = index_of_category(dataset)
    known = [entry for entry in predictions if entry["category_id"] in index_of]
    labels = np.array([index_of[entry["category_id"]] for entry in known], np.int64)
    scores = np.array([entry["score"] for entry in known], np.float64)
    if score_map is not None:
        scores = score_map(scores, labels)
    is_shown = scores >= np.broadcast_to(thresholds, len(index_of))[labels]
    return [{**known[index], "score": float(scores[index])} for index in np.flatnonzero(is_shown)]
