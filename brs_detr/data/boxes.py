"""The one rule for which ground-truth boxes are taken, clipped, dropped or refused."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_OVERHANG = 1.0
"""Pixels by which a box may stick out of its image. Tools round, so this much is clipped; more is a fault."""


class BoxVerdict(NamedTuple):
    """What is wrong with each box, as masks [N]; a box is in one of them at most."""

    not_finite: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    empty: NDArray[np.bool_]


def judge_boxes(boxes_xyxy: ArrayLike, sizes: ArrayLike) -> BoxVerdict:
    """Sort boxes into good ones and three kinds of bad ones.

    Args:
        boxes_xyxy: [N, 4] corners in pixels, origin at the upper left corner of the image.
        sizes: [N, 2] or [2] image sizes (h, w).

    Returns:
        `not_finite`: a NaN or infinite coordinate. `empty`: width or height not above 0, before or after clipping to
        the image. `outside`: more than `MAX_OVERHANG` pixels of the box lie beyond an edge of the image.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
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
    """Cut boxes off at the edges of their images.

    Args:
        boxes_xyxy: [N, 4] corners in pixels.
        sizes: [N, 2] or [2] image sizes (h, w).

    Returns:
        [N, 4] corners with 0 <= x <= w and 0 <= y <= h.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    limits = np.asarray(sizes, dtype=np.float64)[..., ::-1]
    return np.clip(boxes, 0, np.concatenate([limits, limits], axis=-1))


def xyxy_from_xywh(boxes_xywh: ArrayLike) -> NDArray[np.float64]:
    """Corners [N, 4] of boxes [N, 4] given as upper left corner, width and height, as COCO writes them."""
    boxes = np.asarray(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xywh_from_xyxy(boxes_xyxy: ArrayLike) -> NDArray[np.float64]:
    """Boxes [N, 4] as upper left corner, width and height from their corners [N, 4]."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def iou_matrix(boxes_xyxy: ArrayLike, others_xyxy: ArrayLike | None = None) -> NDArray[np.float64]:
    """Intersection over union [N, M] of boxes [N, 4] with others [M, 4], by default themselves; none may be empty."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    others = boxes if others_xyxy is None else np.asarray(others_xyxy, dtype=np.float64).reshape(-1, 4)
    x1, y1, x2, y2 = boxes.T[:, :, None]  # each [N, 1]
    u1, v1, u2, v2 = others.T
    width, height = np.minimum(x2, u2) - np.maximum(x1, u1), np.minimum(y2, v2) - np.maximum(y1, v1)
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    return shared / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared)


def resize_scales(sizes: ArrayLike, resized_to: tuple[int, int]) -> NDArray[np.float64]:
    """Factor by which images are enlarged when they are made as large as fits, their proportions kept.

    Args:
        sizes: [N, 2] image sizes (h, w).
        resized_to: (long side, short side) in pixels that must not be exceeded.
    """
    sides = np.sort(np.asarray(sizes, dtype=np.float64).reshape(-1, 2), axis=1)  # (short, long)
    return (np.sort(resized_to) / sides).min(axis=1)
