"""Detections and objects per image: the confusion matrix, and the images with the most errors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.runtime.calibration import Thresholds

MOST_DETECTIONS = 100  # per image and class, as in COCO
IOU = 0.5


@dataclass(frozen=True)
class ImageBoxes:
    """The D detections of one image, at most 100 per class and best first, and its G objects.

    Args:
        image: entry of the dataset.
        detections: int [D], indices among the COCO results.
        scores: [D].
        detection_classes, object_classes: int [D] and [G], indices in the categories sorted by id.
        objects: int [G], indices among the annotations.
        ious: [D, G].
        in_crowd: bool [D], whether at least half of the detection lies in a crowd.
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
    """Yield the boxes of every image of a dataset.

    Args:
        dataset: COCO object from `brs_detr.data.checks.cleaning.clean_annotations`.
        predictions: COCO results; those of unknown images or categories are left out.
    """
    index_of = index_of_category(dataset)
    detections, objects = defaultdict(list), defaultdict(list)
    for index, prediction in enumerate(predictions):
        if prediction["category_id"] in index_of:
            detections[prediction["image_id"]].append(index)
    for index, annotation in enumerate(dataset["annotations"]):
        objects[annotation["image_id"]].append(index)
    for image in dataset["images"]:
        best = _best_of_each_class(detections[image["id"]], predictions)
        yield _image(image, best, predictions, objects[image["id"]], dataset["annotations"], index_of)


def index_of_category(dataset: Mapping[str, Any]) -> dict[int, int]:
    """Return the index of each category id among the sorted ids of the dataset."""
    return {category: index for index, category in enumerate(sorted(entry["id"] for entry in dataset["categories"]))}


def _best_of_each_class(indices: list[int], predictions: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the best detections of each class, sorted by descending score."""
    best, counts = [], Counter[int]()
    for index in sorted(indices, key=lambda index: -predictions[index]["score"]):
        category = predictions[index]["category_id"]
        if counts[category] < MOST_DETECTIONS:
            best.append(index)
            counts[category] += 1
    return best


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
    """Return the IoU [D, G] of boxes (x, y, w, h); with crowds, the share of each box that lies in them."""
    from pycocotools import mask

    if not boxes or not others:
        return np.zeros((len(boxes), len(others)))
    columns = [np.asarray(rows, np.float64).reshape(-1, 4) for rows in (boxes, others)]
    return np.asarray(mask.iou(*columns, [is_crowd] * len(others)), np.float64)


@dataclass(frozen=True)
class ConfusionMatrix:
    """Confusion matrix of C classes.

    Args:
        names: class names.
        counts: int [C + 1, C + 1], rows are true classes, columns detected classes. The last row is background (false
            detections), the last column the missed objects.
        thresholds: lowest score that counts, one for all classes or one per class.
        iou: lowest IoU of a detection with its object.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    thresholds: Thresholds
    iou: float = IOU


def confusion_matrix(images: Iterable[ImageBoxes], names: tuple[str, ...], thresholds: Thresholds) -> ConfusionMatrix:
    """Count the pairs of detections and objects from `pair_boxes`.

    Args:
        images: with the detections that reach their threshold.
        names: class names in the order of the category ids.
        thresholds: these thresholds, stored in the result.
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
    """Pair detections one to one with objects, at an IoU of at least 0.5.

    By descending score, each detection takes the free object of its class with the highest IoU. The remaining
    detections then choose in the same way among objects of other classes.

    Returns:
        int [D], index of the object, or -1.
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
    """Number of errors on one image.

    Args:
        image_id: id of the image in the dataset.
        file_name: its file name in the dataset.
        missed: objects without a detection.
        false: detections without an object, outside crowds.
        confused: detections paired with an object of another class.
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
    """Return the images with errors, by descending number; see `pair_boxes`."""
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
