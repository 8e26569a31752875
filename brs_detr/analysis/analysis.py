"""Everything that a report says about the detections on one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brs_detr.analysis.calibration import Calibration, calibrate
from brs_detr.analysis.coco_ap import CocoAP, evaluate_boxes, summarize
from brs_detr.analysis.confusion import ConfusionMatrix, confusion_matrix
from brs_detr.analysis.error_types import ErrorType, error_types
from brs_detr.analysis.image_boxes import boxes_by_image
from brs_detr.analysis.matching import read_matching
from brs_detr.analysis.pr_curves import PRCurve, pr_curves
from brs_detr.analysis.thresholds import ThresholdCurves, threshold_curves
from brs_detr.analysis.worst_images import ImageErrors, worst_images


@dataclass(frozen=True)
class Analysis:
    """What a detector does right and wrong.

    Args:
        class_names: in the order of the category ids.
        ap: the metrics of COCO, overall and by class.
        pr_curves: of all classes, then of each.
        thresholds: precision, recall and F1 by lowest score.
        confusion: at the recommended threshold, or the one that was asked for.
        calibration: of the scores.
        error_types: in the order of `brs_detr.analysis.error_types.TYPES`.
        worst_images: most errors first, at the same threshold.
    """

    class_names: tuple[str, ...]
    ap: CocoAP
    pr_curves: tuple[PRCurve, ...]
    thresholds: ThresholdCurves
    confusion: ConfusionMatrix
    calibration: Calibration
    error_types: tuple[ErrorType, ...]
    worst_images: tuple[ImageErrors, ...]


def analyse(
    dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], threshold: float | None = None
) -> Analysis:
    """Analyse detections.

    Args:
        dataset: COCO object that went through `brs_detr.data.cleaning.clean_annotations`.
        predictions: COCO results on it; may be empty.
        threshold: lowest score for the confusion matrix and the worst images; the one with the best F1 by default.
    """
    evaluation = evaluate_boxes(dataset, predictions)
    ap = summarize(evaluation)
    names = tuple(row.name for row in ap.per_class)
    recommended = ap.metrics["F1_threshold"]
    lowest = recommended if threshold is None else threshold
    matching = read_matching(evaluation)
    kept = list(boxes_by_image(dataset, predictions, lowest))
    return Analysis(
        names,
        ap,
        pr_curves(evaluation, {row.name: row.num_boxes for row in ap.per_class}),
        threshold_curves(matching, names, recommended, ap.metrics["F1"]),
        confusion_matrix(kept, names, lowest),
        calibrate(matching),
        error_types(matching, list(boxes_by_image(dataset, predictions)), len(names)),
        worst_images(kept),
    )
