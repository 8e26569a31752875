"""Rules for the geometry of annotations: which boxes and outlines are used, clipped, dropped or refused."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_OVERHANG = 1.0
"""Pixels by which a box may stick out of its image. Tools round, so this much is clipped; more is a fault."""


class BoxVerdict(NamedTuple):
    """What is wrong with each box, as masks [N]; a box is in at most one of them."""

    not_finite: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    empty: NDArray[np.bool_]


def _as_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def judge_boxes(boxes_xyxy: ArrayLike, sizes: ArrayLike) -> BoxVerdict:
    """Sort out bad boxes.

    Args:
        boxes_xyxy: [N, 4] corners in pixels.
        sizes: [N, 2] or [2] image sizes (h, w).

    Returns:
        `not_finite`: a NaN or infinite coordinate. `empty`: width or height not above 0, before or after clipping to
        the image. `outside`: the box reaches more than `MAX_OVERHANG` pixels beyond an edge of the image.
    """
    boxes = _as_boxes(boxes_xyxy)
    limits = np.asarray(sizes, dtype=np.float64)[..., ::-1]  # (w, h)
    with np.errstate(invalid="ignore"):
        is_finite = np.all(np.isfinite(boxes), axis=1)
        is_flat = np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)
        overhang = np.maximum(-boxes[:, :2], boxes[:, 2:] - limits).max(axis=1, initial=0)
        is_outside = is_finite & ~is_flat & (overhang > MAX_OVERHANG)
        clipped = clip_boxes(boxes, sizes)
        is_empty = is_finite & ~is_outside & np.any(clipped[:, 2:] <= clipped[:, :2], axis=1)
    return BoxVerdict(~is_finite, is_outside, is_empty)


def clip_boxes(boxes_xyxy: ArrayLike, sizes: ArrayLike) -> NDArray[np.float64]:
    """Clip corners [N, 4] to images of sizes (h, w), [N, 2] or [2]."""
    limits = np.asarray(sizes, dtype=np.float64)[..., ::-1]
    return np.clip(_as_boxes(boxes_xyxy), 0, np.concatenate([limits, limits], axis=-1))


def xyxy_from_xywh(boxes_xywh: ArrayLike) -> NDArray[np.float64]:
    """Corners [N, 4] of COCO boxes [N, 4]: x and y of the upper left corner, width, height."""
    boxes = _as_boxes(boxes_xywh)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xywh_from_xyxy(boxes_xyxy: ArrayLike) -> NDArray[np.float64]:
    """COCO boxes [N, 4] of corners [N, 4]."""
    boxes = _as_boxes(boxes_xyxy)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def iou_matrix(boxes_xyxy: ArrayLike, others_xyxy: ArrayLike | None = None) -> NDArray[np.float64]:
    """IoU [N, M] of boxes [N, 4] with others [M, 4], by default with themselves; none may be empty."""
    boxes = _as_boxes(boxes_xyxy)
    others = boxes if others_xyxy is None else _as_boxes(others_xyxy)
    x1, y1, x2, y2 = boxes.T[:, :, None]  # each [N, 1]
    u1, v1, u2, v2 = others.T
    width, height = np.minimum(x2, u2) - np.maximum(x1, u1), np.minimum(y2, v2) - np.maximum(y1, v1)
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    return shared / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared)


def resize_scales(sizes: ArrayLike, resized_to: tuple[int, int]) -> NDArray[np.float64]:
    """Factors [N] that make images as large as fits, proportions kept.

    Args:
        sizes: [N, 2] image sizes (h, w).
        resized_to: upper limits (long side, short side) in pixels.
    """
    sides = np.sort(np.asarray(sizes, dtype=np.float64).reshape(-1, 2), axis=1)  # (short, long)
    return (np.sort(resized_to) / sides).min(axis=1)


def usable_segmentation(stated: Any, size: tuple[float, float]) -> Any:
    """Keep what is usable of a COCO `segmentation`.

    Args:
        stated: polygons as lists of x, y in turn, or run lengths as an object with `size` and `counts`.
        size: (h, w) of the image. Masks take as much memory as the numbers say, so they must fit the image.

    Returns:
        The same object where all of it is usable; otherwise the polygons of 3 corners or more that are no farther from
        the image than its own width or height; None where nothing is usable.
    """
    if isinstance(stated, list):
        kept = [polygon for polygon in stated if _is_polygon(polygon, size)]
        return stated if kept and len(kept) == len(stated) else kept or None
    if isinstance(stated, dict):
        return stated if stated.get("size") == list(size) and _cover(stated.get("counts"), size) else None
    return None


def _is_polygon(polygon: Any, size: tuple[float, float]) -> bool:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    if not set(map(type, polygon)) <= {int, float}:
        return False
    are_near = all(
        -side <= min(numbers) and max(numbers) <= 2 * side
        for numbers, side in ((polygon[::2], size[1]), (polygon[1::2], size[0]))
    )
    return are_near and math.isfinite(sum(polygon))


def _cover(counts: Any, size: tuple[float, float]) -> bool:
    num_pixels = size[0] * size[1]
    if isinstance(counts, list):
        return all(type(count) is int and 0 <= count <= num_pixels for count in counts) and sum(counts) == num_pixels
    lengths = _decompressed(counts) if isinstance(counts, str) and counts.isascii() else None
    return lengths is not None and bool((lengths >= 0).all()) and int(lengths.sum()) == num_pixels


def _decompressed(text: str) -> NDArray[np.int64] | None:
    """Run lengths of COCO's text, None where it is broken.

    A letter holds 5 bits, counted from `0`; its sixth bit says that more follow. From the fourth number on, each is the
    difference from the one two before.
    """
    letters = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(letters & 32 == 0)
    if not len(ends) or ends[-1] != len(letters) - 1 or letters.min() < 0 or letters.max() > 63:
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    widths = ends - starts + 1
    if widths.max() > 8:  # 40 bits
        return None
    shifts = 5 * (np.arange(len(letters)) - np.repeat(starts, widths))
    numbers = np.add.reduceat((letters & 31) << shifts, starts)
    numbers -= np.where(letters[ends] & 16, np.int64(1) << (5 * widths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
