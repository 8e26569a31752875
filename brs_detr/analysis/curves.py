"""Precision, recall and F1 over thresholds and over recall, and the thresholds that they suggest."""

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
FALLBACK_THRESHOLD = 0.3  # where nothing was found to measure one on

LEAST_OBJECTS = 10
"""A class with fewer objects takes the threshold of all classes together."""


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


def best_f1(matching: Matching) -> tuple[float, float]:
    """Best F1 of all classes together at IoU 0.5, and the lowest score that is kept for it."""
    if not len(matching.objects):
        return -1.0, FALLBACK_THRESHOLD
    if not matching.is_true.any():
        return 0.0, FALLBACK_THRESHOLD
    scores, _, _, f1 = f1_curves(matching.scores, matching.is_true, len(matching.objects))
    return float(f1.max()), float(scores[f1.argmax()])


def threshold_curves(matching: Matching, class_names: tuple[str, ...]) -> ThresholdCurves:
    """Move a threshold over all scores.

    Args:
        matching: from `brs_detr.analysis.matching.read_matching`.
        class_names: in the order of the category ids.
    """
    highest_f1, recommended = best_f1(matching)
    curves = f1_curves(matching.scores, matching.is_true, len(matching.objects))
    scores, precision, recall, f1 = (curve[::-1] for curve in curves)
    kept = np.union1d(_spread(scores), np.flatnonzero(scores == recommended))  # however many points are left out
    per_class = {}
    for index, name in enumerate(class_names):
        of_class = matching.detection_classes == index
        num_objects = int((matching.object_classes == index).sum())
        if num_objects and of_class.any():
            thresholds, _, _, class_f1 = f1_curves(matching.scores[of_class], matching.is_true[of_class], num_objects)
            per_class[name] = (float(thresholds[class_f1.argmax()]), float(class_f1.max()))
    return ThresholdCurves(scores[kept], precision[kept], recall[kept], f1[kept], recommended, highest_f1, per_class)


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


@dataclass(frozen=True)
class Goal:
    """What thresholds are chosen for.

    Args:
        measure: `F1` for its best value; `precision` or `recall` for `value` at least.
        value: in (0, 1]; not used for F1.
    """

    measure: Literal["F1", "precision", "recall"]
    value: float = 1.0

    def __str__(self) -> str:
        return "best F1" if self.measure == "F1" else f"{self.measure} {self.value:g}"


@dataclass(frozen=True)
class ClassThresholds:
    """Result of `class_thresholds`.

    Args:
        thresholds: [C] lowest score to keep.
        missed: labels of classes that cannot reach the goal; the threshold is as near to it as can be.
        pooled: labels of classes with too few objects to have a threshold of their own.
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
    """Choose a threshold for each class, half-way between the scores that it parts.

    For a precision it is the lowest that keeps to it, for a recall the highest.

    Args:
        scores: [D] of detections.
        labels: [D].
        is_true: [D], it found an object of its class.
        num_objects: [C] there are to be found.
        goal: what they should reach.
    """
    of_all, all_reach = _threshold(scores, is_true, int(num_objects.sum()), goal)
    by_label = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[by_label], np.arange(len(num_objects) + 1))
    thresholds, missed, pooled = [], [], []
    for label, number in enumerate(num_objects):
        own = by_label[slice(*bounds[label : label + 2])]
        threshold, reaches = of_all, all_reach
        if number < LEAST_OBJECTS:
            pooled.append(label)
        else:
            threshold, reaches = _threshold(scores[own], is_true[own], int(number), goal)
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
    """Precision, recall and F1 of each class, [C, 3], NaN where there is nothing to measure it on.

    Args:
        scores, labels, is_true, num_objects: those of `class_thresholds`.
        thresholds: [C] lowest score that is kept.
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
    """The threshold, and whether it reaches the goal."""
    descending, precision, recall, f1 = f1_curves(scores, is_true, num_objects)
    if not len(descending):
        return DEFAULT_THRESHOLD, False
    values = {"F1": f1, "precision": precision, "recall": recall}[goal.measure]
    if goal.measure == "F1":
        index, reaches = int(values.argmax()), True
    else:
        reached = np.flatnonzero(values >= goal.value)
        reaches = len(reached) > 0
        # Recall rises as the threshold falls; precision may rise and fall, and its last index keeps most.
        index = int(values.argmax()) if not reaches else int(reached[0 if goal.measure == "recall" else -1])
    below = descending[index + 1] if index + 1 < len(descending) else 0.0
    return float((descending[index] + below) / 2), reaches


@dataclass(frozen=True)
class PRCurve:
    """A curve of one class, or of the mean over the classes that have an object.

    Args:
        name: of the class, or `all classes`.
        recall: [101] from 0 to 1.
        precision50: [101] highest precision at this recall or a higher one, at IoU 0.5; NaN where nothing is measured.
        precision: [101] its mean over IoU 0.5, 0.55, ..., 0.95. The mean of this curve is the AP.
        num_boxes: objects.
    """

    name: str
    recall: NDArray[np.float64]
    precision50: NDArray[np.float64]
    precision: NDArray[np.float64]
    num_boxes: int


def pr_curves(evaluation: COCOeval, num_boxes: dict[str, int]) -> tuple[PRCurve, ...]:
    """The curve of all classes, then one for each.

    Args:
        evaluation: from `brs_detr.analysis.coco_ap.evaluate_boxes`.
        num_boxes: objects of each class by name, in the order of the category ids.
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
