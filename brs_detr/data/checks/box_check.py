"""Check usable boxes for probable mistakes, and for what is hard to learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brs_detr.data import kinds
from brs_detr.data.boxes import clip_boxes, iou_matrix, resize_scales, xyxy_from_xywh
from brs_detr.data.checks.annotation_check import box_example, judged
from brs_detr.data.findings import Example, Finding
from brs_detr.data.kinds import FaultKind

Entry = dict[str, Any]

MIN_SIDE = 4.0
"""Shorter side in pixels, after resizing, below which a box is called tiny."""

_SAME_IOU = 0.95
_WHOLE = 0.995  # of width and of height
_NEARLY_ALL = 0.9
_CORNER = 0.6  # of width and of height
_PERCENT = (90, 100)  # where the outermost boxes end that are in percent
_MIN_FOR_ALL = 20  # boxes below which a common property says nothing
_NUM_PAIRS = 1 << 17  # of boxes of an image, that are compared at a time
_MIN_OVERHANG = 0.01  # pixels: less is arithmetic


@dataclass(frozen=True)
class BoxTable:
    """The boxes that training and evaluation see: those with a known image and class that are not dropped.

    Args:
        annotations: entries of the N boxes, as found.
        images: entries of their images.
        labels: [N] indices of their classes in the list of names.
        boxes_xyxy: [N, 4] corners in pixels, clipped to the image.
        sizes: [N, 2] sizes (h, w) of the images.
        is_crowd: [N] whether a box stands for a crowd.
    """

    annotations: tuple[Entry, ...]
    images: tuple[Entry, ...]
    labels: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    sizes: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def sides(self) -> NDArray[np.float64]:
        """[N, 2] width and height in pixels."""
        return self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]


def tabulate_boxes(dataset: dict[str, list[Entry]], class_names: Sequence[str]) -> BoxTable:
    """Gather the usable boxes of a COCO object.

    Args:
        dataset: without malformed entries.
        class_names: of the dataset; the index of a name is its label.
    """
    images = {image["id"]: image for image in dataset["images"]}
    label_of = {name: label for label, name in enumerate(class_names)}
    labels = {category["id"]: label_of[category["name"]] for category in dataset["categories"]}
    known = [
        entry for entry in dataset["annotations"] if entry["image_id"] in images and entry["category_id"] in labels
    ]
    owners, boxes_xyxy, sizes, verdict = judged(known, images)
    is_good = ~(verdict.not_finite | verdict.outside | verdict.empty)
    kept = np.flatnonzero(is_good).tolist()
    return BoxTable(
        tuple(known[index] for index in kept),
        tuple(owners[index] for index in kept),
        np.array([labels[known[index]["category_id"]] for index in kept], dtype=np.int64),
        clip_boxes(boxes_xyxy, sizes)[is_good],
        sizes[is_good],
        np.array([bool(known[index].get("iscrowd")) for index in kept], dtype=bool),
    )


def find_odd_boxes(boxes: BoxTable, resized_to: tuple[int, int], min_side: float = MIN_SIDE) -> Iterator[Finding]:
    """Find boxes that are repeated, in conflict, very small, over the edge, or over everything.

    Args:
        boxes: of one split.
        resized_to: (long side, short side) in pixels that images are resized to for training.
        min_side: shorter side in pixels, after resizing, below which a box is tiny.
    """
    repeated, conflicting = find_repeats(boxes)
    resized = boxes.sides * resize_scales(boxes.sizes, resized_to)[:, None]
    overhang = np.abs(xyxy_from_xywh([entry["bbox"] for entry in boxes.annotations]) - boxes.boxes_xyxy)
    is_whole = (boxes.sides >= _WHOLE * boxes.sizes[:, ::-1]).all(axis=1) & ~boxes.is_crowd
    are_many = len(boxes) >= _MIN_FOR_ALL
    are_whole = are_many and is_whole.mean() >= _NEARLY_ALL

    def resized_text(at: int) -> str:
        return f", {resized[at, 0]:.1f} x {resized[at, 1]:.1f} after resizing"

    faults: dict[FaultKind, list[Example]] = {
        kinds.REPEATED_BOX: _pair_examples(boxes, repeated),
        kinds.CONFLICTING_BOX: _pair_examples(boxes, conflicting),
        kinds.TINY_BOX: _examples(boxes, (resized < min_side).any(axis=1), resized_text),
        kinds.NARROW_BOX: _examples(boxes, (boxes.sides < 1).any(axis=1)),
        kinds.OVERHANGING_BOX: _examples(boxes, overhang.max(axis=1, initial=0) > _MIN_OVERHANG),
        kinds.WHOLE_IMAGE_BOXES if are_whole else kinds.WHOLE_IMAGE_BOX: _examples(boxes, is_whole),
    }
    yield from (Finding.of(kind, examples, len(boxes)) for kind, examples in faults.items() if examples)
    share = (boxes.boxes_xyxy[:, 2:] / boxes.sizes[:, ::-1]).max(initial=0)
    if are_many and _seem_percent(boxes):
        right, bottom = boxes.boxes_xyxy[:, 2:].max(axis=0)
        yield Finding.of(kinds.PERCENT_BOXES, [f"none reaches beyond x = {right:g} or y = {bottom:g}"])
    elif are_many and share <= _CORNER:
        yield Finding.of(kinds.CORNER_BOXES, [f"none reaches beyond {share:.0%} of the width or the height"])


def find_repeats(boxes: BoxTable) -> tuple[dict[int, int], dict[int, int]]:
    """Find boxes that are nearly equal to an earlier one on the same image, crowds left out.

    Returns:
        Indices of those with the same class, and of those with another class, each with the index of the earlier one.
    """
    repeated: dict[int, int] = {}
    conflicting: dict[int, int] = {}
    for group in _by_image(boxes):
        step = 1 + _NUM_PAIRS // len(group)
        for start in range(0, len(group), step):
            later, before = group[start : start + step], group[: start + step]
            is_close = iou_matrix(boxes.boxes_xyxy[later], boxes.boxes_xyxy[before]) > _SAME_IOU
            is_close &= before < later[:, None]
            is_same = boxes.labels[later, None] == boxes.labels[before]
            repeated |= _firsts(is_close & is_same, later, before)
            conflicting |= _firsts(is_close & ~is_same, later, before)
    return repeated, conflicting


def _seem_percent(boxes: BoxTable) -> bool:
    """Whether all boxes end inside a square of 100 which they fill, in images that are at least a tenth larger."""
    low, high = _PERCENT
    ends = boxes.boxes_xyxy[:, 2:].max(axis=0)
    return bool((ends >= low).all() and (ends <= high).all() and boxes.sizes.min() >= 1.1 * high)


def _examples(boxes: BoxTable, mask: ArrayLike, remark: Callable[[int], str] = lambda at: "") -> list[Example]:
    return [box_example(boxes.annotations[at], boxes.images[at], remark(at)) for at in np.flatnonzero(mask).tolist()]


def _pair_examples(boxes: BoxTable, first_of: dict[int, int]) -> list[Example]:
    return [
        box_example(boxes.annotations[at], boxes.images[at], f", as annotation {boxes.annotations[first]['id']}")
        for at, first in sorted(first_of.items())
    ]


def _firsts(is_pair: NDArray[np.bool_], later: NDArray[np.int64], before: NDArray[np.int64]) -> dict[int, int]:
    """For each element of `later` [N] that has a pair in `is_pair` [N, M], the first of `before` [M]."""
    rows = np.flatnonzero(is_pair.any(axis=1))
    return dict(zip(later[rows].tolist(), before[is_pair[rows].argmax(axis=1)].tolist(), strict=True))


def _by_image(boxes: BoxTable) -> Iterator[NDArray[np.int64]]:
    """Indices of the boxes on each image that has several, crowds left out."""
    image_ids = np.array([image["id"] for image in boxes.images])
    order = np.argsort(image_ids, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(image_ids[order])) + 1):
        group = group[~boxes.is_crowd[group]]
        if len(group) > 1:
            yield group
