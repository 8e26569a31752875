"""Non-maximum suppression of a whole batch with a result of fixed shape, for exported graphs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor

NmsKeep = Callable[[Tensor, Tensor, Tensor, int, float], Tensor]
"""Type of `nms_keep` and `nms_keep_op`."""


def nms_keep(boxes: Tensor, scores: Tensor, labels: Tensor, num_labels: int, iou_threshold: float) -> Tensor:
    """Return which boxes to keep, suppressing separately in each image and label.

    Args:
        boxes: ``[B, N, 4]`` x1, y1, x2, y2 in pixels.
        scores: ``[B, N]``; a box with a score below 0 is dropped and suppresses no other.
        labels: ``[B, N]``, from 0.
        num_labels: number of labels.
        iou_threshold: in [0, 1]; a box with exactly this IoU is kept.

    Returns:
        bool ``[B, N]``.
    """
    wide = boxes.double()  # moving the groups apart then loses no precision
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None]
    apart = wide.amax() - wide.amin() + 1
    moved = wide + ((image * num_labels + labels) * apart)[..., None]
    kept = torchvision.ops.nms(moved.flatten(0, 1), scores.flatten().double(), iou_threshold)
    is_kept = torch.zeros_like(scores, dtype=torch.uint8).flatten().index_fill(0, kept, 1).bool()
    return is_kept.view_as(scores) & (scores >= 0)


@torch.library.custom_op("brs_detr::nms_keep", mutates_args=())
def nms_keep_op(boxes: Tensor, scores: Tensor, labels: Tensor, num_labels: int, iou_threshold: float) -> Tensor:
    """`nms_keep` as one node of a graph, which an exporter translates as a whole."""
    return nms_keep(boxes, scores, labels, num_labels, iou_threshold)


@nms_keep_op.register_fake
def _(boxes: Tensor, scores: Tensor, labels: Tensor, num_labels: int, iou_threshold: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)
