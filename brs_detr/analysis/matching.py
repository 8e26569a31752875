"""COCO's matching of detections and objects as arrays, at IoU 0.5 and at any overlap."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

_ANY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Matching:
    """The D detections that count, and the G objects without crowds.

    The 100 best detections per image and class count, except those in a crowd.

    Args:
        detections: int [D], indices among the COCO results.
        scores: float [D].
        detection_classes: int [D], indices among the categories sorted by id.
        images: int [D], ids of the images.
        is_true: bool [D], whether the detection found an object of its class.
        found: int [D], index of that object in `objects`, or -1.
        objects: int [G], indices among the annotations of the dataset.
        object_classes: int [G], indices among the categories sorted by id.
        is_found: bool [G], whether a detection found the object.
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
    """Read the matching at the lowest IoU threshold (0.5 in COCO) from an evaluation.

    Args:
        evaluation: from `brs_detr.analysis.coco_ap.evaluate_boxes`.
    """
    index_of = {category: index for index, category in enumerate(evaluation.params.catIds)}
    all_sizes = evaluation.params.areaRng[0]
    parts = [part for part in evaluation.evalImgs if part is not None and part["aRng"] == all_sizes]
    columns = [_columns(part, index_of[part["category_id"]]) for part in parts]
    detections, scores, detection_classes, images, found_ids, objects, object_classes, is_found = (
        np.concatenate([column[index] for column in columns]) if columns else np.zeros(0) for index in range(8)
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


def _columns(part: dict[str, Any], index: int) -> tuple[NDArray[Any], ...]:
    counts = ~np.asarray(part["dtIgnore"][0], bool)
    is_object = ~np.asarray(part["gtIgnore"], bool)
    matches = np.asarray(part["dtMatches"][0])[counts]
    return (
        np.asarray(part["dtIds"], np.int64)[counts],
        np.asarray(part["dtScores"], np.float64)[counts],
        np.full(int(counts.sum()), index),
        np.full(int(counts.sum()), part["image_id"]),
        matches,
        np.asarray(part["gtIds"], np.int64)[is_object],
        np.full(int(is_object.sum()), index),
        np.asarray(part["gtMatches"][0])[is_object] > 0,
    )


@dataclass(frozen=True)
class Overlaps:
    """Matching at any IoU above 0: by descending score, each detection takes the free object that it overlaps most.

    Args:
        matching: of objects and detections of the same class.
        ious: [D] with the object that was found, or 0.
    """

    matching: Matching
    ious: NDArray[np.float64]


def read_overlaps(evaluation: COCOeval) -> Overlaps:
    """Match the boxes of `brs_detr.analysis.coco_ap.evaluate_boxes` again, at any IoU above 0.

    (The published code of LaECE_0 differs: there, a detection that overlaps no object may take a free one at IoU 0,
    which a lower-scoring detection on that object then cannot take.)
    """
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        again = COCOeval(evaluation.cocoGt, evaluation.cocoDt, "bbox")
        again.params.iouThrs = np.array([_ANY])
        again.params.areaRng, again.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        again.params.maxDets = evaluation.params.maxDets
        again.evaluate()
    matching = read_matching(again)
    return Overlaps(matching, _ious(again, matching))


def _ious(evaluation: COCOeval, matching: Matching) -> NDArray[np.float64]:
    ious = np.zeros(len(matching.scores))
    is_true = matching.is_true
    detected = _corners(evaluation.cocoDt.dataset["annotations"], matching.detections[is_true])
    objects = _corners(evaluation.cocoGt.dataset["annotations"], matching.objects[matching.found[is_true]])
    shared = _area(np.maximum(detected[:2], objects[:2]), np.minimum(detected[2:], objects[2:]))
    both = _area(detected[:2], detected[2:]) + _area(objects[:2], objects[2:])
    ious[is_true] = shared / (both - shared)
    return ious


def _corners(entries: list[dict[str, Any]], indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return [4, N] x1, y1, x2, y2."""
    x, y, w, h = np.array([entries[index]["bbox"] for index in indices], np.float64).reshape(-1, 4).T
    return np.stack([x, y, x + w, y + h])


def _area(upper_left: NDArray[np.float64], lower_right: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = np.prod(lower_right - upper_left, axis=0)
    return area
