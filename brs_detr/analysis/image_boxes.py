"""Detections and objects image by image, with the overlap of each pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_DETECTIONS = 100  # an image and class, as COCO counts


@dataclass(frozen=True)
class ImageBoxes:
    """One image: its D detections, the 100 best of each class, best first, its G objects and its crowds.

    Args:
        image: entry of the data set.
        detections: int [D], places among the COCO results.
        scores: [D].
        detection_classes, object_classes: int [D] and [G], places in the categories sorted by id.
        objects: int [G], places among the annotations.
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
    place_of = places_of_categories(dataset)
    found: dict[Any, list[int]] = {}
    for number, prediction in enumerate(predictions):
        if prediction["category_id"] in place_of:
            found.setdefault(prediction["image_id"], []).append(number)
    truth: dict[Any, list[int]] = {}
    for number, annotation in enumerate(dataset["annotations"]):
        truth.setdefault(annotation["image_id"], []).append(number)
    for image in dataset["images"]:
        detections = _best_of_each_class(found.get(image["id"], []), predictions)
        yield _image(image, detections, predictions, truth.get(image["id"], []), dataset["annotations"], place_of)


def places_of_categories(dataset: Mapping[str, Any]) -> dict[int, int]:
    """Place of each category id among those of the data set, sorted."""
    return {category: place for place, category in enumerate(sorted(entry["id"] for entry in dataset["categories"]))}


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
    place_of: Mapping[int, int],
) -> ImageBoxes:
    boxes = [predictions[number]["bbox"] for number in detections]
    objects = [number for number in truth if not annotations[number]["iscrowd"]]
    crowds = [number for number in truth if annotations[number]["iscrowd"]]
    return ImageBoxes(
        image,
        np.array(detections, np.int64),
        np.array([predictions[number]["score"] for number in detections], np.float64),
        np.array([place_of[predictions[number]["category_id"]] for number in detections], np.int64),
        np.array(objects, np.int64),
        np.array([place_of[annotations[number]["category_id"]] for number in objects], np.int64),
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
