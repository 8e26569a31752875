"""What the scores of a detector mean, from an evaluation of its raw ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.class_thresholds import ClassThresholds, Goal, class_thresholds, rates_at
from brs_detr.analysis.fit_score_map import Labelled, fit_score_map
from brs_detr.analysis.matching import Matching
from brs_detr.data.annotations import class_names_of
from brs_detr.runtime.calibration import Calibration
from brs_detr.runtime.score_map import logit


def learn_calibration(
    matching: Matching, dataset: Mapping[str, Any], class_names: tuple[str, ...]
) -> tuple[Calibration, dict[str, float]] | None:
    """What scores mean by the detections of an evaluation, and the log loss of each kind of map on held-out images.

    Args:
        matching: of its raw scores.
        dataset: COCO object that was evaluated on.
        class_names: of the detector.

    Returns:
        None where nothing that was found is right.
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


def choose_thresholds(
    matching: Matching,
    dataset: Mapping[str, Any],
    calibration: Calibration,
    class_names: tuple[str, ...],
    goal: Goal,
) -> ClassThresholds:
    """Lowest probability to keep of each class; arguments are those of `learn_calibration` and what it gave."""
    return class_thresholds(*_mapped(matching, dataset, calibration, class_names), goal)


def rates_by_class(
    matching: Matching, dataset: Mapping[str, Any], calibration: Calibration, class_names: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Objects, and precision, recall and F1 at the threshold of each class; see `learn_calibration`."""
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
    """Probabilities, labels and truth of the detections, and the number of objects of each class."""
    labels = _labels(matching.detection_classes, dataset, class_names)
    objects = _labels(matching.object_classes, dataset, class_names)
    scores = calibration.score_map(matching.scores, labels)
    return scores, labels, matching.is_true, np.bincount(objects, minlength=len(class_names))


def _labels(places: NDArray[np.int64], dataset: Mapping[str, Any], class_names: tuple[str, ...]) -> NDArray[np.int64]:
    """Labels of the detector for places in the categories sorted by id: a `Matching` counts them so."""
    label_of_name = {name: label for label, name in enumerate(class_names)}
    names = class_names_of(dataset, "the data set")
    label_of_place = np.array([label_of_name.get(name, -1) for name in names], np.int64)
    labels: NDArray[np.int64] = label_of_place[places]
    return labels
