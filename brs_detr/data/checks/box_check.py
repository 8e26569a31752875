"""Check boxes that can be trained on for what looks like a mistake, or will be hard to learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brs_detr.data.boxes import iou_matrix, resize_scales, xyxy_from_xywh
from brs_detr.data.checks.annotation_check import box_example
from brs_detr.data.checks.box_table import BoxTable
from brs_detr.data.findings import Example, FaultKind, Finding

REPEATED_BOX = FaultKind(
    "box drawn twice", "Delete one of the two: the model is punished for finding it once.", "warning"
)
CONFLICTING_BOX = FaultKind("one box with two classes", "Keep the class that is right.", "warning")
TINY_BOX = FaultKind(
    "tiny box", "Hardly to be found. Train on larger images (--size), or cut the images into tiles.", "warning"
)
NARROW_BOX = FaultKind(
    "box narrower than 1 pixel", "Not trained on, but counted as missed. Mend or delete these boxes.", "warning"
)
OVERHANGING_BOX = FaultKind("box that sticks out of the image by a pixel or less", "Clipped to the image.", "note")
WHOLE_IMAGE_BOX = FaultKind("box over the whole image", "Look whether it is a label of the picture instead.", "note")

WHOLE_IMAGE_BOXES = FaultKind(
    "box over the whole image, as nearly all are",
    "The model will learn to frame pictures. Draw boxes around the objects, unless each picture is one.",
    "warning",
)
CORNER_BOXES = FaultKind(
    "boxes that all lie in the upper left part of the images",
    "Look at the drawn samples: they may be in percent, or drawn on smaller copies of the images.",
    "warning",
)
PERCENT_BOXES = FaultKind(
    "boxes that fill a square of 100 in larger images",
    "They seem to be in percent of the image, and are read as pixels. Look at the drawn samples; if they are, write "
    "pixels: x and width times the width of the image, y and height times its height, divided by 100.",
    "warning",
)

MIN_SIDE = 4.0
"""Shorter side in pixels, after resizing, below which a box is called tiny."""

_SAME_IOU = 0.95
_WHOLE = 0.995  # of width and of height
_NEARLY_ALL = 0.9
_CORNER = 0.6  # of width and of height
_PERCENT = (90, 100)  # where the outermost boxes end that are in percent
_MIN_FOR_ALL = 20  # boxes below which it says nothing that all have something in common
_NUM_PAIRS = 1 << 17  # of boxes of an image, that are compared at a time
_MIN_OVERHANG = 0.01  # pixels: less is arithmetic


def find_odd_boxes(boxes: BoxTable, resized_to: tuple[int, int], min_side: float = MIN_SIDE) -> Iterator[Finding]:
    """Find boxes that are repeated, in conflict, very small, over the edge, or over everything.

    Args:
        boxes: of one split.
        resized_to: (long side, short side) in pixels that images are resized to for training.
        min_side: shorter side in pixels, after resizing, below which a box is tiny.
    """
    repeated, conflicting = find_repeats(boxes)
    resized = boxes.sides * resize_scales(boxes.sizes, resized_to)[:, None]
    is_whole = (boxes.sides >= _WHOLE * boxes.sizes[:, ::-1]).all(axis=1) & ~boxes.is_crowd
    are_whole = len(boxes) >= _MIN_FOR_ALL and is_whole.mean() >= _NEARLY_ALL
    ends = (boxes.boxes_xyxy[:, 2:] / boxes.sizes[:, ::-1]).max(initial=0)
    faults: dict[FaultKind, list[Example]] = {
        REPEATED_BOX: _pair_examples(boxes, repeated),
        CONFLICTING_BOX: _pair_examples(boxes, conflicting),
        TINY_BOX: _examples(boxes, (resized < min_side).any(axis=1), lambda at: _resized_text(resized[at])),
        NARROW_BOX: _examples(boxes, (boxes.sides < 1).any(axis=1)),
        OVERHANGING_BOX: _examples(boxes, _overhang(boxes) > _MIN_OVERHANG),
        WHOLE_IMAGE_BOXES if are_whole else WHOLE_IMAGE_BOX: _examples(boxes, is_whole),
    }
    if len(boxes) >= _MIN_FOR_ALL and _seem_percent(boxes):
        right, bottom = boxes.boxes_xyxy[:, 2:].max(axis=0)
        faults[PERCENT_BOXES] = [Example(f"none reaches beyond x = {right:g} or y = {bottom:g}")]
    elif len(boxes) >= _MIN_FOR_ALL and ends <= _CORNER:
        faults[CORNER_BOXES] = [Example(f"none reaches beyond {ends:.0%} of the width or the height")]
    return (
        Finding.of(kind, examples, None if kind in (CORNER_BOXES, PERCENT_BOXES) else len(boxes))
        for kind, examples in faults.items()
        if examples
    )


def find_repeats(boxes: BoxTable) -> tuple[dict[int, int], dict[int, int]]:
    """Places of boxes that are nearly equal to one before them on the same image, each with the place of that one.

    Returns:
        Those with the same class, and those with another one. Crowds are left out.
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
    """Whether all boxes end within a square of 100 which they fill, in images that are a tenth larger or more."""
    low, high = _PERCENT
    ends = boxes.boxes_xyxy[:, 2:].max(axis=0)
    return bool((ends >= low).all() and (ends <= high).all() and boxes.sizes.min() >= 1.1 * high)


def _examples(boxes: BoxTable, mask: ArrayLike, remark: Callable[[int], str] = lambda at: "") -> list[Example]:
    return [box_example(boxes.annotations[at], boxes.images[at], remark(at)) for at in np.flatnonzero(mask).tolist()]


def _resized_text(sides: NDArray[np.float64]) -> str:
    return f", {sides[0]:.1f} x {sides[1]:.1f} after resizing"


def _pair_examples(boxes: BoxTable, first_of: dict[int, int]) -> list[Example]:
    return [
        box_example(
            boxes.annotations[second], boxes.images[second], f", as annotation {boxes.annotations[first]['id']}"
        )
        for second, first in sorted(first_of.items())
    ]


def _overhang(boxes: BoxTable) -> NDArray[np.float64]:
    """Pixels by which each box was clipped."""
    found = xyxy_from_xywh([entry["bbox"] for entry in boxes.annotations])
    return np.abs(found - boxes.boxes_xyxy).max(axis=1, initial=0)


def _firsts(is_pair: NDArray[np.bool_], later: NDArray[np.int64], before: NDArray[np.int64]) -> dict[int, int]:
    """Of each place in `later` [N] that has a pair, the first place in `before` [M] that it pairs with.

    Args:
        is_pair: [N, M].
        later: places of boxes.
        before: places of others.
    """
    rows = np.flatnonzero(is_pair.any(axis=1))
    return dict(zip(later[rows].tolist(), before[is_pair[rows].argmax(axis=1)].tolist(), strict=True))


def _by_image(boxes: BoxTable) -> Iterator[NDArray[np.int64]]:
    """Places of the boxes on each image that has several; crowds are left out."""
    image_ids = np.array([image["id"] for image in boxes.images])
    order = np.argsort(image_ids, kind="stable")
    ends = np.flatnonzero(np.diff(image_ids[order])) + 1
    for group in np.split(order, ends):
        group = group[~boxes.is_crowd[group]]
        if len(group) > 1:
            yield group
