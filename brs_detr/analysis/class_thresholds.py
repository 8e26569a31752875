"""The lowest score to keep of each class, for what a user wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.thresholds import f1_curves
from brs_detr.runtime.calibration import DEFAULT_THRESHOLD

LEAST_OBJECTS = 10
"""A class with fewer objects takes the threshold of all classes together."""


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
        place, reaches = int(values.argmax()), True
    else:
        reached = np.flatnonzero(values >= goal.value)
        reaches = len(reached) > 0
        # Recall rises as the threshold falls; precision may rise and fall, and its last place keeps most.
        place = int(values.argmax()) if not reaches else int(reached[0 if goal.measure == "recall" else -1])
    below = descending[place + 1] if place + 1 < len(descending) else 0.0
    return float((descending[place] + below) / 2), reaches
