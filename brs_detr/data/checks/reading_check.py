"""Check whether the annotations of a split as a whole are written otherwise than they are read."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brs_detr.data.boxes import judge_boxes, xyxy_from_xywh
from brs_detr.data.findings import EMPTY_BOXES, FRACTION_BOXES, NEGATIVE_BOXES, UNTRAINED_BOXES, FaultKind

Boxes = NDArray[np.float64]

_MOST = 0.95
_SOME = 0.05
_HARDLY_ANY = 0.1
_FULL = 0.9


def _middle(boxes_xywh: Boxes) -> Boxes:
    return boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2


def _swapped(boxes: Boxes) -> Boxes:
    return boxes[:, [1, 0, 3, 2]]


_READINGS: dict[str, Callable[[Boxes], Boxes]] = {
    "they are corners x1, y1, x2, y2 in place of x, y, width, height": lambda boxes: boxes,
    "they are corners x1, y1, x2, y2 in place of middle, width, height": lambda boxes: np.hstack(
        [_middle(boxes), boxes[:, 2:]]
    ),
    "they begin with the middle in place of the upper left corner": lambda boxes: xyxy_from_xywh(
        np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]])
    ),
    "they begin with the upper left corner in place of the middle": lambda boxes: xyxy_from_xywh(
        np.hstack([_middle(boxes), boxes[:, 2:]])
    ),
    "x and y are exchanged in them, or width and height of the images": lambda boxes: xyxy_from_xywh(_swapped(boxes)),
}
"""Mistakes, each with the corners (x1, y1, x2, y2) that were meant by what is read as (x, y, width, height)."""

_RARE_READINGS: dict[str, Callable[[Boxes], Boxes]] = {
    "they are corners y1, x1, y2, x2 in place of x, y, width, height": _swapped
}
"""Mistakes that are thought of where none of the others would explain it."""

_THOUSANDTHS: dict[str, Callable[[Boxes], Boxes]] = {
    "x, y, width, height are in thousandths of the image": xyxy_from_xywh,
    "they are corners x1, y1, x2, y2 in thousandths of the image": lambda boxes: boxes,
    "they are corners y1, x1, y2, x2 in thousandths of the image": _swapped,
}


def shared_mistake(boxes_xywh: Boxes) -> tuple[FaultKind, NDArray[np.bool_]] | None:
    """What half of the boxes or more, or nearly all, have in common that no object has, and which have it [N].

    Args:
        boxes_xywh: [N, 4] as found: x, y, width, height in pixels.
    """
    sides = boxes_xywh[:, 2:]
    is_finite = np.all(np.isfinite(boxes_xywh), axis=1)
    is_negative = is_finite & np.any(sides < 0, axis=1)
    is_solid = is_finite & np.all(sides > 0, axis=1)
    is_small = is_solid & np.all(sides <= 1, axis=1)
    if is_negative.any() and 2 * is_negative.sum() >= len(sides):
        return NEGATIVE_BOXES, is_negative
    if not is_solid.any():
        return (EMPTY_BOXES, is_finite) if len(sides) else None
    if 2 * is_small.sum() >= is_solid.sum() and (sides[is_small] < 1).any():
        return FRACTION_BOXES, is_small
    is_unit = is_finite & np.all(boxes_xywh <= 1, axis=1)  # rounded fractions
    if is_unit.sum() > 1 and is_unit.sum() >= _FULL * len(sides):
        return FRACTION_BOXES, is_unit
    is_trained = is_finite & np.all(sides >= 1, axis=1)
    if is_trained.sum() <= _HARDLY_ANY * len(sides):
        return UNTRAINED_BOXES, is_finite & ~is_trained
    return None


def fitting_readings(boxes_xywh: Boxes, sizes: ArrayLike) -> list[str]:
    """Other ways to read boxes, a part of which sticks out of the images, by which hardly any would.

    Args:
        boxes_xywh: [N, 4] as found: x, y, width, height in pixels.
        sizes: [N, 2] sizes (h, w) of their images.
    """
    is_solid = np.isfinite(boxes_xywh).all(axis=1) & (boxes_xywh[:, 2:] > 0).all(axis=1)
    boxes_xywh, sizes = boxes_xywh[is_solid], np.asarray(sizes)[is_solid]
    is_outside = judge_boxes(xyxy_from_xywh(boxes_xywh), sizes).outside
    if is_outside.sum() < 2 or is_outside.mean() < _SOME:
        return []
    words = (
        _fitting(_READINGS, boxes_xywh, sizes)
        or _fitting(_RARE_READINGS, boxes_xywh, sizes)
        or _fitting_thousandths(boxes_xywh)
    )
    start = f"{is_outside.sum()} of {len(boxes_xywh)} boxes stick out of their images; hardly any would if "
    return [f"{start}{text}" for text in words]


def _fitting(readings: dict[str, Callable[[Boxes], Boxes]], boxes_xywh: Boxes, sizes: ArrayLike) -> list[str]:
    verdicts = {words: judge_boxes(read(boxes_xywh), sizes) for words, read in readings.items()}
    return [words for words, verdict in verdicts.items() if (~(verdict.outside | verdict.empty)).mean() >= _MOST]


def _fitting_thousandths(boxes_xywh: Boxes) -> list[str]:
    """Readings by which boxes fill a square of 1000 in both directions."""
    found = _fitting(_THOUSANDTHS, boxes_xywh, (1000, 1000))
    return [words for words in found if (_THOUSANDTHS[words](boxes_xywh)[:, 2:].max(axis=0) >= _FULL * 1000).all()]


def shifted_ids(used: Collection[int], known: Collection[int], listed: str = "categories") -> list[str]:
    """How ids differ from those of the list, where all are off by one.

    Args:
        used: ids in the annotations.
        known: ids in the list.
        listed: what the list is of.
    """
    if set(used) <= set(known):
        return []
    return [
        f"{min(used)} to {max(used)} in the annotations, {min(known)} to {max(known)} in the list of {listed}"
        for step in (1, -1)
        if {number + step for number in used} <= set(known)
    ]
