"""Which class is taken for which, and what is missed or made up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.image_boxes import ImageBoxes
from brs_detr.runtime.calibration import Thresholds

IOU = 0.5


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often each class was detected as each.

    Args:
        names: the C classes.
        counts: int [C + 1, C + 1], rows are what is there, columns what was detected. The last row is background
            (detections of nothing), the last column what was missed.
        thresholds: lowest score that counted, of all classes or of each.
        iou: overlap from which a detection is of an object.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    thresholds: Thresholds
    iou: float = IOU


def confusion_matrix(images: Iterable[ImageBoxes], names: tuple[str, ...], thresholds: Thresholds) -> ConfusionMatrix:
    """Count pairs of a detection and an object, see `pair_boxes`.

    Args:
        images: with the detections that reach the threshold.
        names: of the classes, in the order of the category ids.
        thresholds: what it was, or that of each class.
    """
    background = len(names)
    counts = np.zeros((background + 1, background + 1), np.int64)
    for image in images:
        partner = pair_boxes(image)
        is_paired = partner >= 0
        truth = np.full(len(partner), background)
        truth[is_paired] = image.object_classes[partner[is_paired]]
        counts_here = is_paired | ~image.in_crowd
        np.add.at(counts, (truth[counts_here], image.detection_classes[counts_here]), 1)
        is_missed = np.ones(len(image.objects), bool)
        is_missed[partner[is_paired]] = False
        counts[:, background] += np.bincount(image.object_classes[is_missed], minlength=background + 1)
    return ConfusionMatrix(names, counts, thresholds)


def pair_boxes(image: ImageBoxes) -> NDArray[np.int64]:
    """Pair detections with objects that they overlap by an IoU of 0.5 or more, each once.

    Detections choose in the order of their scores, each the object with the highest IoU that is free: first all of them
    among objects of their own class, then those that are left among the rest.

    Returns:
        int [D], place of the object, -1 without one.
    """
    same_class = image.detection_classes[:, None] == image.object_classes
    partner = np.full(len(image.detections), -1)
    is_free = np.ones(len(image.objects), bool)
    for is_candidate in (same_class, ~same_class):
        for place in np.flatnonzero((partner < 0) & (is_candidate & (image.ious >= IOU)).any(1)):
            overlaps = np.where(is_candidate[place] & is_free, image.ious[place], 0)
            best = int(overlaps.argmax())
            if overlaps[best] >= IOU:
                partner[place], is_free[best] = best, False
    return partner
