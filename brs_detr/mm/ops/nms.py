"""Greedy non-maximum suppression, and the groups it forms."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor

from brs_detr.mm.ops.bbox_overlaps import overlaps
from brs_detr.mm.ops.precision import widened


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Drop every box that overlaps a higher-scoring kept box by more than the threshold.

    Args:
        boxes: ``[N, 4]`` x1, y1, x2, y2 in pixels.
        scores: ``[N]``.
        iou_threshold: in [0, 1]; an IoU equal to it is kept.
        offset: 0, or 1 where ``x2, y2`` name the last pixel inside the box.

    Returns:
        ``[K]`` indices of the kept boxes by falling score.
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
        One list of indices for each kept box: the kept box first, then the others by falling score.
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
