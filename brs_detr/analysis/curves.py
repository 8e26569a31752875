"""Precision, recall and F1 by threshold, precision by recall, and the choice of thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.matching import Matching
from brs_detr.runtime.calibration import DEFAULT_THRESHOLD

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

MOST_POINTS = 400
FALLBACK_THRESHOLD = 0.3  # if no object was found

LEAST_OBJECTS = 10
"""Classes with fewer objects use the threshold of all classes together."""


@dataclass(frozen=True)
class ThresholdCurves:
    """All classes together at IoU 0.5, for T thresholds.

    Args:
        scores: [T] thresholds, ascending; detections with exactly this score are kept.
        precision, recall, f1: [T] in [0, 1].
        recommended: the threshold with the best F1.
        best_f1: its F1, or -1 without objects.
        per_class: best threshold and its F1, by name of each class with objects and detections.
    """

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    recommended: float
    best_f1: float
    per_class: dict[str, tuple[float, float]]


def best_f1(matching: Matching) -> tuple[float, float]:
    """Return the best F1 of all classes together at IoU 0.5, and its threshold."""
    if not len(matching.objects):
        return -1.0, FALLBACK_THRESHOLD
    if not matching.is_true.any():
        return 0.0, FALLBACK_THRESHOLD
    scores, _, _, f1 = f1_curves(matching.scores, matching.is_true, len(matching.objects))
    return float(f1.max()), float(scores[f1.argmax()])


def threshold_curves(matching: Matching, class_names: tuple[str, ...]) -> ThresholdCurves:
    """Compute precision, recall and F1 for thresholds at all scores, or an even selection of many.

    Args:
        matching: from `brs_detr.analysis.matching.read_matching`.
        class_names: in the order of the category ids.
    """
    highest_f1, recommended = best_f1(matching)
    curves = f1_curves(matching.scores, matching.is_true, len(matching.objects))
    scores, precision, recall, f1 = (curve[::-1] for curve in curves)
    kept = np.union1d(_spread(scores), np.flatnonzero(scores == recommended))
    per_class = {}
    for index, name in enumerate(class_names):
        of_class = matching.detection_classes == index
        num_objects = int((matching.object_classes == index).sum())
        if num_objects and of_class.any():
            thresholds, _, _, class_f1 = f1_curves(matching.scores[of_class], matching.is_true[of_class], num_objects)
            per_class[name] = (float(thresholds[class_f1.argmax()]), float(class_f1.max()))
    return ThresholdCurves(scores[kept], precision[kept], recall[kept], f1[kept], recommended, highest_f1, per_class)


def _spread(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Select at most `MOST_POINTS` of ascending scores, half by index and half by value: few may be high."""
    if len(scores) <= MOST_POINTS:
        return np.arange(len(scores))
    evenly = np.linspace(0, len(scores) - 1, MOST_POINTS // 2).round().astype(np.int64)
    by_score = np.searchsorted(scores, np.linspace(scores[0], scores[-1], MOST_POINTS // 2))
    return np.union1d(evenly, by_score)


def f1_curves(
    scores: NDArray[np.float64], is_true: NDArray[np.bool_], num_objects: int
) -> tuple[NDArray[np.float64], ...]:
    """Compute precision, recall and F1 by threshold.

    Args:
        scores: [D] of detections.
        is_true: [D], whether each found an object of its class.
        num_objects: number of objects to find.

    Returns:
        Thresholds (the distinct scores, descending), precision, recall and F1.
    """
    order = np.argsort(-scores, kind="stable")
    descending, num_true = scores[order], is_true[order].cumsum()
    is_last = np.append(descending[1:] != descending[:-1], True) if len(order) else np.zeros(0, bool)  # among equals
    num_kept = np.arange(1, len(order) + 1)[is_last]
    num_true = num_true[is_last]
    precision, recall = num_true / num_kept, num_true / max(num_objects, 1)
    f1 = 2 * num_true / (num_kept + num_objects)
    return descending[is_last], precision, recall, f1


@dataclass(frozen=True)
class Goal:
    """Goal of a choice of thresholds.

    Args:
        measure: `F1` for the best F1, `precision` or `recall` for at least ``value``.
        value: in (0, 1]; ignored for F1.
    """

    measure: Literal["F1", "precision", "recall"]
    value: float = 1.0

    def __str__(self) -> str:
        return "best F1" if self.measure == "F1" else f"{self.measure} {self.value:g}"


@dataclass(frozen=True)
class ClassThresholds:
    """Result of `class_thresholds`.

    Args:
        thresholds: [C] lowest scores to keep.
        missed: labels of classes that cannot reach the goal; their threshold is the one that comes closest.
        pooled: labels of classes with too few objects for their own threshold.
    """

    thresholds: tuple[float, ...]
    missed: tuple[int, ...]
    pooled: tuple[int, ...]


def class_thresholds(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    is_true: NDArray[np.bool_],
    num_objects: NDArray[np.int64],
    goal: Goal,
) -> ClassThresholds:
    """Choose a threshold for each class, half-way between two scores.

    For a precision goal it is the lowest threshold that reaches it, for a recall goal the highest.

    Args:
        scores: [D] of detections.
        labels: [D] of detections.
        is_true: [D], whether each found an object of its class.
        num_objects: [C] numbers of objects to find.
        goal: what each class should reach.
    """
    of_all, all_reach = _threshold(scores, is_true, int(num_objects.sum()), goal)
    by_label = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[by_label], np.arange(len(num_objects) + 1))
    thresholds, missed, pooled = [], [], []
    for label, count in enumerate(num_objects):
        rows = by_label[slice(*bounds[label : label + 2])]
        threshold, reaches = of_all, all_reach
        if count < LEAST_OBJECTS:
            pooled.append(label)
        else:
            threshold, reaches = _threshold(scores[rows], is_true[rows], int(count), goal)
        thresholds.append(threshold)
        if not reaches:
            missed.append(label)
    return ClassThresholds(tuple(thresholds), tuple(missed), tuple(pooled))


def rates_at(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    is_true: NDArray[np.bool_],
    num_objects: NDArray[np.int64],
    thresholds: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return precision, recall and F1 of each class, [C, 3]; NaN if undefined.

    Args:
        scores, labels, is_true, num_objects: see `class_thresholds`.
        thresholds: [C] lowest scores to keep.
    """
    is_kept = scores >= thresholds[labels]
    num_kept, num_true = (
        np.bincount(labels[rows], minlength=len(num_objects)) for rows in (is_kept, is_kept & is_true)
    )
    with np.errstate(invalid="ignore"):
        return np.stack([num_true / num_kept, num_true / num_objects, 2 * num_true / (num_kept + num_objects)], 1)


def _threshold(
    scores: NDArray[np.float64], is_true: NDArray[np.bool_], num_objects: int, goal: Goal
) -> tuple[float, bool]:
    """Return the threshold, and whether it reaches the goal."""
    descending, precision, recall, f1 = f1_curves(scores, is_true, num_objects)
    if not len(descending):
        return DEFAULT_THRESHOLD, False
    values = {"F1": f1, "precision": precision, "recall": recall}[goal.measure]
    if goal.measure == "F1":
        index, reaches = int(values.argmax()), True
    else:
        reached = np.flatnonzero(values >= goal.value)
        reaches = len(reached) > 0
        # Recall rises as the threshold falls. Precision may rise and fall: its last index keeps the most detections.
        index = int(values.argmax()) if not reaches else int(reached[0 if goal.measure == "recall" else -1])
    below = descending[index + 1] if index + 1 < len(descending) else 0.0
    return float((descending[index] + below) / 2), reaches


@dataclass(frozen=True)
class PRCurve:
    """Precision-recall curve of one class, or the mean curve of all classes with objects.

    Args:
        name: name of the class, or `all classes`.
        recall: [101] from 0 to 1.
        precision50: [101] highest precision at this recall or a higher one, at IoU 0.5; NaN without objects.
        precision: [101] the mean over IoU 0.5, 0.55, ..., 0.95. The mean of this curve is the AP.
        num_boxes: number of objects.
    """

    name: str
    recall: NDArray[np.float64]
    precision50: NDArray[np.float64]
    precision: NDArray[np.float64]
    num_boxes: int


def pr_curves(evaluation: COCOeval, num_boxes: dict[str, int]) -> tuple[PRCurve, ...]:
    """Return the curve of all classes, then the curve of each class.

    Args:
        evaluation: from `brs_detr.analysis.coco_ap.evaluate_boxes`.
        num_boxes: number of objects by class name, in the order of the category ids.
    """
    precision = evaluation.eval["precision"][..., 0, -1]  # [IoU threshold, recall, class]
    measured = np.where(precision > -1, precision, np.nan)
    recall = np.asarray(evaluation.params.recThrs, np.float64)
    curves = [
        PRCurve(name, recall, measured[0, :, index], measured[:, :, index].mean(0), count)
        for index, (name, count) in enumerate(num_boxes.items())
    ]
    has_objects = ~np.isnan(measured[0, 0])
    if not has_objects.any():
        nothing = np.full(len(recall), np.nan)
        return (PRCurve("all classes", recall, nothing, nothing, 0), *curves)
    of_all = measured[:, :, has_objects].mean(2)
    return (PRCurve("all classes", recall, of_all[0], of_all.mean(0), sum(num_boxes.values())), *curves)
