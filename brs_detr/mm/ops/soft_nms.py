"""Soft non-maximum suppression (Bodla et al., 2017), which lowers scores in place of dropping boxes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brs_detr.mm.ops.precision import widened

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Repeatedly take the best box and lower the scores of what overlaps it.

    Args:
        boxes: ``[N, 4]`` x1, y1, x2, y2 in pixels, on the CPU.
        scores: ``[N]``; of equal scores the first wins.
        dets: ``[N, 5]``, filled in place: the K kept boxes and their lowered scores in the first K rows.
        iou_threshold: overlap from which `NAIVE` zeroes a score and `LINEAR` multiplies it by ``1 - IoU``.
        sigma: width of `GAUSSIAN`, which multiplies by ``exp(-IoU^2 / sigma)`` at any overlap.
        min_score: a lowered score below this drops the box.
        method: `NAIVE`, `LINEAR` or `GAUSSIAN`.
        offset: 0, or 1 where ``x2, y2`` name the last pixel inside the box.

    Returns:
        ``[K]`` indices of the kept boxes in the order they were taken.
    """
    open_boxes, open_scores = widened(boxes).numpy(), widened(scores).numpy().copy()
    open_inds = np.arange(len(open_scores))
    kept_inds: list[int] = []
    kept_scores: list[float] = []
    while open_inds.size:
        best = int(open_scores.argmax())
        kept_inds.append(int(open_inds[best]))
        kept_scores.append(float(open_scores[best]))
        open_scores = open_scores * _decay(
            _iou(open_boxes[best], open_boxes, offset), iou_threshold, sigma, method
        ).astype(open_scores.dtype)
        is_open = open_scores >= min_score
        is_open[best] = False
        open_boxes, open_scores, open_inds = open_boxes[is_open], open_scores[is_open], open_inds[is_open]
    inds = torch.tensor(kept_inds, dtype=torch.long)
    dets[: len(inds), :4] = boxes[inds]
    dets[: len(inds), 4] = dets.new_tensor(kept_scores)
    return inds


def _decay(iou: NDArray[np.floating], iou_threshold: float, sigma: float, method: int) -> NDArray[np.floating]:
    if method == GAUSSIAN:
        return np.asarray(np.exp(-(iou**2) / sigma))
    return np.where(iou >= iou_threshold, 1 - iou if method == LINEAR else 0.0, 1.0)


def _iou(box: NDArray[np.floating], boxes: NDArray[np.floating], offset: int) -> NDArray[np.floating]:
    """IoU of one box with ``[N, 4]`` boxes, 0 where both areas are 0 (numpy: a third of the time of tensors)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]) + offset
    intersection = np.clip(sides, 0, None).prod(1)
    union = (box[2:] - box[:2] + offset).prod() + (boxes[:, 2:] - boxes[:, :2] + offset).prod(1) - intersection
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0))
