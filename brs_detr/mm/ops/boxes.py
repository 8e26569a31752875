"""Overlap of boxes, and the variants of non-maximum suppression that use it: greedy, grouping and soft."""

from __future__ import annotations

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from brs_detr.mm.ops.precision import widened

IOU, IOF = 0, 1
NAIVE, LINEAR, GAUSSIAN = 0, 1, 2


def overlaps(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor, mode: int = IOU, offset: int = 0) -> Tensor:
    """Return intersection over union (`IOU`), or over the area of the first box (`IOF`), with broadcasting.

    Args:
        boxes1_xyxy: ``[..., 4]`` boxes in pixels.
        boxes2_xyxy: ``[..., 4]`` boxes, broadcastable to the first.
        mode: `IOU` or `IOF`.
        offset: added to every width and height; 1 if ``x2, y2`` are the last pixel inside the box.

    Returns:
        ``[...]`` in [0, 1]; 0 where the divisor is 0.
    """
    area1, area2 = (_area(boxes[..., 2:] - boxes[..., :2] + offset) for boxes in (boxes1_xyxy, boxes2_xyxy))
    top_left = torch.maximum(boxes1_xyxy[..., :2], boxes2_xyxy[..., :2])
    bottom_right = torch.minimum(boxes1_xyxy[..., 2:], boxes2_xyxy[..., 2:])
    intersection = _area((bottom_right - top_left + offset).clamp(min=0))
    divisor = area1 + area2 - intersection if mode == IOU else area1.expand_as(intersection)
    return torch.where(divisor > 0, intersection / divisor.clamp(min=offset), 0)


def _area(sizes: Tensor) -> Tensor:
    width, height = sizes.unbind(-1)
    return width * height


def bbox_overlaps(boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """mmcv's op: fill ``ious``, ``[N]`` when the boxes are paired (``aligned``), else ``[N, M]``."""
    ious.copy_(overlaps(boxes1 if aligned else boxes1[:, None], boxes2, mode, offset))


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Drop every box that overlaps a higher-scoring kept box by more than the threshold.

    Args:
        boxes: ``[N, 4]`` x1, y1, x2, y2 in pixels.
        scores: ``[N]``.
        iou_threshold: in [0, 1]; a box with exactly this IoU is kept.
        offset: 0, or 1 if ``x2, y2`` are the last pixel inside the box.

    Returns:
        ``[K]`` indices of the kept boxes by descending score.
    """
    boxes = widened(boxes)
    if offset:  # one more pixel to the right and below gives the same widths, heights and intersections
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    kept_inds: Tensor = torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)
    return kept_inds


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes by the kept box that suppresses them.

    Args:
        dets: ``[N, 5]`` x1, y1, x2, y2, score.
        iou_threshold: a box joins a group when its IoU with the kept box is at least this.

    Returns:
        One list of indices per kept box: the kept box first, then the others by descending score.
    """
    order = dets[:, 4].argsort(descending=True, stable=True)
    boxes = widened(dets[:, :4])
    groups = []
    while order.numel():
        best, rest = order[0], order[1:]
        is_match = overlaps(boxes[best], boxes[rest]) >= iou_threshold
        groups.append(torch.cat([best[None], rest[is_match]]).tolist())
        order = rest[~is_match]
    return groups


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
    """Take the best box repeatedly, lowering the scores of those that overlap it (Bodla et al., 2017).

    Args:
        boxes: ``[N, 4]`` x1, y1, x2, y2 in pixels, on the CPU.
        scores: ``[N]``; of equal scores the first wins.
        dets: ``[N, 5]``, filled in place: the K kept boxes and their lowered scores in the first K rows.
        iou_threshold: overlap from which `NAIVE` zeroes a score and `LINEAR` multiplies it by ``1 - IoU``.
        sigma: width of `GAUSSIAN`, which multiplies by ``exp(-IoU^2 / sigma)`` at any overlap.
        min_score: boxes with a lower score are dropped.
        method: `NAIVE`, `LINEAR` or `GAUSSIAN`.
        offset: 0, or 1 if ``x2, y2`` are the last pixel inside the box.

    Returns:
        ``[K]`` indices of the kept boxes in the order they were taken.
    """
    # numpy takes a third of the time of tensors.
    open_boxes, open_scores = widened(boxes).numpy(), widened(scores).numpy().copy()
    open_inds = np.arange(len(open_scores))
    kept_inds: list[int] = []
    kept_scores: list[float] = []
    while open_inds.size:
        best = int(open_scores.argmax())
        kept_inds.append(int(open_inds[best]))
        kept_scores.append(float(open_scores[best]))
        iou = _iou(open_boxes[best], open_boxes, offset)
        if method == GAUSSIAN:
            decay = np.exp(-(iou**2) / sigma)
        else:
            decay = np.where(iou >= iou_threshold, 1 - iou if method == LINEAR else 0.0, 1.0)
        open_scores = open_scores * decay.astype(open_scores.dtype)
        is_open = open_scores >= min_score
        is_open[best] = False
        open_boxes, open_scores, open_inds = open_boxes[is_open], open_scores[is_open], open_inds[is_open]
    inds = torch.tensor(kept_inds, dtype=torch.long)
    dets[: len(inds), :4] = boxes[inds]
    dets[: len(inds), 4] = dets.new_tensor(kept_scores)
    return inds


def _iou(box: NDArray[np.floating], boxes: NDArray[np.floating], offset: int) -> NDArray[np.floating]:
    """Return the IoU of one box with ``[N, 4]`` boxes, 0 where both areas are 0."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]) + offset
    intersection = np.clip(sides, 0, None).prod(1)
    union = (box[2:] - box[:2] + offset).prod() + (boxes[:, 2:] - boxes[:, :2] + offset).prod(1) - intersection
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0))
