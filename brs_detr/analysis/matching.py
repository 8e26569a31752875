"""Which detection found which object: COCO's own matching at IoU 0.5, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval


@dataclass(frozen=True)
class Matching:
    """The D detections that count and the G objects that are no crowds.

    A detection does not count beyond the 100 best of an image and class, or where it lies in a crowd.

    Args:
        detections: int [D], place of each among the COCO results.
        scores: float [D].
        detection_classes: int [D], place of its category among those of the data set, sorted by id.
        images: int [D], id of the image of each.
        is_true: bool [D], it found an object of its class.
        found: int [D], place in `objects` of what it found, -1 without.
        objects: int [G], place of each among the annotations of the data set.
        object_classes: int [G].
        is_found: bool [G].
    """

    detections: NDArray[np.int64]
    scores: NDArray[np.float64]
    detection_classes: NDArray[np.int64]
    images: NDArray[np.int64]
    is_true: NDArray[np.bool_]
    found: NDArray[np.int64]
    objects: NDArray[np.int64]
    object_classes: NDArray[np.int64]
    is_found: NDArray[np.bool_]


def read_matching(evaluation: COCOeval) -> Matching:
    """Take the matching at IoU 0.5 out of an evaluation.

    Args:
        evaluation: from `brs_detr.analysis.coco_ap.evaluate_boxes`.
    """
    place_of = {category: place for place, category in enumerate(evaluation.params.catIds)}
    all_sizes = evaluation.params.areaRng[0]
    parts = [part for part in evaluation.evalImgs if part is not None and part["aRng"] == all_sizes]
    columns = [_columns(part, place_of[part["category_id"]]) for part in parts]
    detections, scores, detection_classes, images, found_ids, objects, object_classes, is_found = (
        np.concatenate([column[place] for column in columns]) if columns else np.zeros(0) for place in range(8)
    )
    objects, found_ids = objects.astype(np.int64), found_ids.astype(np.int64)
    order = np.argsort(objects)
    found = np.full(len(found_ids), -1)
    is_true = found_ids > 0
    found[is_true] = order[np.searchsorted(objects, found_ids[is_true], sorter=order)]
    return Matching(
        detections.astype(np.int64) - 1,
        scores.astype(np.float64),
        detection_classes.astype(np.int64),
        images.astype(np.int64),
        is_true,
        found,
        objects.astype(np.int64) - 1,
        object_classes.astype(np.int64),
        is_found.astype(bool),
    )


def _columns(part: dict[str, Any], place: int) -> tuple[NDArray[Any], ...]:
    counts = ~np.asarray(part["dtIgnore"][0], bool)
    is_object = ~np.asarray(part["gtIgnore"], bool)
    matches = np.asarray(part["dtMatches"][0])[counts]
    return (
        np.asarray(part["dtIds"], np.int64)[counts],
        np.asarray(part["dtScores"], np.float64)[counts],
        np.full(int(counts.sum()), place),
        np.full(int(counts.sum()), part["image_id"]),
        matches,
        np.asarray(part["gtIds"], np.int64)[is_object],
        np.full(int(is_object.sum()), place),
        np.asarray(part["gtMatches"][0])[is_object] > 0,
    )
