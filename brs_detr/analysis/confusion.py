"""Detections and objects image by image: which class is taken for which, and where most goes wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.runtime.calibration import Thresholds

MOST_DETECTIONS = 100  # an image and class, as COCO counts

IOU = 0.5


@dataclass(frozen=True)
class ImageBoxes:
    """One image: its D detections, the 100 best of each class, best first, its G objects and its crowds.

    Args:
        image: entry of the data set.
        detections: int [D], indices among the COCO results.
        scores: [D].
        detection_classes, object_classes: int [D] and [G], indices in the categories sorted by id.
        objects: int [G], indices among the annotations.
        ious: [D, G].
        in_crowd: bool [D], at least half of the detection lies in a crowd.
    """

    image: Mapping[str, Any]
    detections: NDArray[np.int64]
    scores: NDArray[np.float64]
    detection_classes: NDArray[np.int64]
    objects: NDArray[np.int64]
    object_classes: NDArray[np.int64]
    ious: NDArray[np.float64]
    in_crowd: NDArray[np.bool_]


def boxes_by_image(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> Iterator[ImageBoxes]:
    """Every image of a data set.

    Args:
        dataset: COCO object that went through `brs_detr.data.checks.cleaning.clean_annotations`.
        predictions: COCO results; those of unknown images or categories are left out.
    """
    index_of = index_of_category(dataset)
    found: dict[Any, list[int]] = {}
    for number, prediction in enumerate(predictions):
        if prediction["category_id"] in index_of:
            found.setdefault(prediction["image_id"], []).append(number)
    truth: dict[Any, list[int]] = {}
    for number, annotation in enumerate(dataset["annotations"]):
        truth.setdefault(annotation["image_id"], []).append(number)
    for image in dataset["images"]:
        detections = _best_of_each_class(found.get(image["id"], []), predictions)
        yield _image(image, detections, predictions, truth.get(image["id"], []), dataset["annotations"], index_of)


def index_of_category(dataset: Mapping[str, Any]) -> dict[int, int]:
    """Place of each category id among those of the data set, sorted."""
    return {category: index for index, category in enumerate(sorted(entry["id"] for entry in dataset["categories"]))}


def _best_of_each_class(numbers: list[int], predictions: Sequence[Mapping[str, Any]]) -> list[int]:
    """Those of the detections that count, best first."""
    kept, counts = [], Counter[int]()
    for number in sorted(numbers, key=lambda number: -predictions[number]["score"]):
        category = predictions[number]["category_id"]
        if counts[category] < MOST_DETECTIONS:
            kept.append(number)
            counts[category] += 1
    return kept


def _image(
    image: Mapping[str, Any],
    detections: list[int],
    predictions: Sequence[Mapping[str, Any]],
    truth: list[int],
    annotations: Sequence[Mapping[str, Any]],
    index_of: Mapping[int, int],
) -> ImageBoxes:
    boxes = [predictions[number]["bbox"] for number in detections]
    objects = [number for number in truth if not annotations[number]["iscrowd"]]
    crowds = [number for number in truth if annotations[number]["iscrowd"]]
    return ImageBoxes(
        image,
        np.array(detections, np.int64),
        np.array([predictions[number]["score"] for number in detections], np.float64),
        np.array([index_of[predictions[number]["category_id"]] for number in detections], np.int64),
        np.array(objects, np.int64),
        np.array([index_of[annotations[number]["category_id"]] for number in objects], np.int64),
        _ious(boxes, [annotations[number]["bbox"] for number in objects], 0),
        np.any(_ious(boxes, [annotations[number]["bbox"] for number in crowds], 1) >= 0.5, axis=1),
    )


def _ious(boxes: Sequence[Any], others: Sequence[Any], is_crowd: int) -> NDArray[np.float64]:
    """IoU [D, G] of boxes (x, y, w, h); with a crowd, the share of the box that lies in it."""
    from pycocotools import mask

    if not boxes or not others:
        return np.zeros((len(boxes), len(others)))
    columns = [np.asarray(rows, np.float64).reshape(-1, 4) for rows in (boxes, others)]
    return np.asarray(mask.iou(*columns, [is_crowd] * len(others)), np.float64)


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
        int [D], index of the object, -1 without one.
    """
    same_class = image.detection_classes[:, None] == image.object_classes
    partner = np.full(len(image.detections), -1)
    is_free = np.ones(len(image.objects), bool)
    for is_candidate in (same_class, ~same_class):
        for index in np.flatnonzero((partner < 0) & (is_candidate & (image.ious >= IOU)).any(1)):
            overlaps = np.where(is_candidate[index] & is_free, image.ious[index], 0)
            best = int(overlaps.argmax())
            if overlaps[best] >= IOU:
                partner[index], is_free[best] = best, False
    return partner


@dataclass(frozen=True)
class ImageErrors:
    """What went wrong on one image.

    Args:
        image_id: of the data set.
        file_name: likewise.
        missed: objects that nothing was paired with.
        false: detections that were paired with nothing and do not lie in a crowd.
        confused: detections that were paired with an object of another class.
    """

    image_id: int
    file_name: str
    missed: int
    false: int
    confused: int

    @property
    def total(self) -> int:
        """All errors."""
        return self.missed + self.false + self.confused


def worst_images(images: Iterable[ImageBoxes]) -> tuple[ImageErrors, ...]:
    """Images that have an error, most errors first; see `brs_detr.analysis.confusion.pair_boxes`."""
    errors = []
    for image in images:
        partner = pair_boxes(image)
        is_paired = partner >= 0
        is_confused = image.object_classes[partner[is_paired]] != image.detection_classes[is_paired]
        errors.append(
            ImageErrors(
                image.image["id"],
                str(image.image["file_name"]),
                missed=len(image.objects) - int(is_paired.sum()),
                false=int((~is_paired & ~image.in_crowd).sum()),
                confused=int(is_confused.sum()),
            )
        )
    return tuple(sorted((error for error in errors if error.total), key=lambda error: -error.total))
