"""Overlap of boxes, with the extra pixel of the old convention where asked for."""

from __future__ import annotations

import torch
from torch import Tensor

IOU, IOF = 0, 1


def overlaps(boxes1_xyxy: Tensor, boxes2_xyxy: Tensor, mode: int = IOU, offset: int = 0) -> Tensor:
    """Intersection over union (`IOU`), or over the area of the first box (`IOF`), with broadcasting.

    Args:
        boxes1_xyxy: ``[..., 4]`` boxes in pixels.
        boxes2_xyxy: ``[..., 4]`` boxes, broadcastable to the first.
        mode: `IOU` or `IOF`.
        offset: added to every width and height; 1 where ``x2, y2`` name the last pixel inside the box.

    Returns:
        ``[...]`` in [0, 1]; 0 where the divisor is 0.
    """
    area1, area2 = _area(boxes1_xyxy, offset), _area(boxes2_xyxy, offset)
    top_left = torch.maximum(boxes1_xyxy[..., :2], boxes2_xyxy[..., :2])
    bottom_right = torch.minimum(boxes1_xyxy[..., 2:], boxes2_xyxy[..., 2:])
    width, height = (bottom_right - top_left + offset).clamp(min=0).unbind(-1)
    intersection = width * height
    divisor = area1 + area2 - intersection if mode == IOU else area1.expand_as(intersection)
    return torch.where(divisor > 0, intersection / divisor.clamp(min=offset), 0)


def bbox_overlaps(boxes1: Tensor, boxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """mmcv's op: fill ``ious``, ``[N]`` when the boxes are paired (``aligned``), else ``[N, M]``."""
    ious.copy_(overlaps(boxes1 if aligned else boxes1[:, None], boxes2, mode, offset))


def _area(boxes_xyxy: Tensor, offset: int) -> Tensor:
    width, height = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2] + offset).unbind(-1)
    return width * height
