"""What a lowest score to keep does to precision, recall and F1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.matching import Matching

MOST_POINTS = 400


@dataclass(frozen=True)
class ThresholdCurves:
    """All classes together at IoU 0.5, for T thresholds.

    Args:
        scores: [T] thresholds, ascending; a detection of this score is kept.
        precision, recall, f1: [T] in [0, 1].
        recommended: the threshold with the best F1.
        best_f1: its F1; -1 without any object.
        per_class: best threshold and its F1 by class name; of a class without objects or detections there is none.
    """

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    recommended: float
    best_f1: float
    per_class: dict[str, tuple[float, float]]


def threshold_curves(
    matching: Matching, class_names: tuple[str, ...], recommended: float, best_f1: float
) -> ThresholdCurves:
    """Move a threshold over all scores.

    Args:
        matching: from `brs_detr.analysis.matching.read_matching`.
        class_names: in the order of the category ids.
        recommended: `F1_threshold` of `brs_detr.analysis.coco_ap`.
        best_f1: `F1` of the same.
    """
    curves = f1_curves(matching.scores, matching.is_true, len(matching.objects))
    scores, precision, recall, f1 = (curve[::-1] for curve in curves)
    kept = np.union1d(_spread(scores), np.flatnonzero(scores == recommended))  # however many points are left out
    per_class = {}
    for place, name in enumerate(class_names):
        of_class = matching.detection_classes == place
        num_objects = int((matching.object_classes == place).sum())
        if num_objects and of_class.any():
            thresholds, _, _, class_f1 = f1_curves(matching.scores[of_class], matching.is_true[of_class], num_objects)
            per_class[name] = (float(thresholds[class_f1.argmax()]), float(class_f1.max()))
    return ThresholdCurves(scores[kept], precision[kept], recall[kept], f1[kept], recommended, best_f1, per_class)


def _spread(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places among ascending scores, at most `MOST_POINTS`: most scores may be small, and few of them high."""
    if len(scores) <= MOST_POINTS:
        return np.arange(len(scores))
    evenly = np.linspace(0, len(scores) - 1, MOST_POINTS // 2).round().astype(np.int64)
    by_score = np.searchsorted(scores, np.linspace(scores[0], scores[-1], MOST_POINTS // 2))
    return np.union1d(evenly, by_score)


def f1_curves(
    scores: NDArray[np.float64], is_true: NDArray[np.bool_], num_objects: int
) -> tuple[NDArray[np.float64], ...]:
    """Precision, recall and F1 by threshold.

    Args:
        scores: [D] of detections.
        is_true: [D].
        num_objects: there are to be found.

    Returns:
        Thresholds, descending, each score once; with precision, recall and F1 of what is not below each.
    """
    order = np.argsort(-scores, kind="stable")
    descending, num_true = scores[order], is_true[order].cumsum()
    is_last = np.append(descending[1:] != descending[:-1], True) if len(order) else np.zeros(0, bool)  # of equal scores
    num_kept = np.arange(1, len(order) + 1)[is_last]
    num_true = num_true[is_last]
    precision, recall = num_true / num_kept, num_true / max(num_objects, 1)
    f1 = 2 * num_true / (num_kept + num_objects)
    return descending[is_last], precision, recall, f1
