"""Box losses over the positives of a batch."""

from __future__ import annotations

from collections.abc import Callable

from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from brs_detr.heads.classification import average_losses


def positive_box_losses(loss: Callable[..., Tensor], boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Score P predicted boxes, one by one.

    Without any, the sum is 0 and still reaches the parameters behind ``boxes``: mmdet's IoU losses return a constant
    for empty input, which leaves parameters without a gradient and stalls distributed training.

    Args:
        loss: mmdet box loss.
        boxes: ``[P, 4]`` predictions.
        target_boxes: ``[P, 4]``.

    Returns:
        ``[P]``.
    """
    losses: Tensor = loss(boxes, target_boxes, reduction_override="none")
    return (losses if losses.dim() == 1 else losses.sum(1)) + 0 * boxes.sum(1)


def positive_quality(boxes: Tensor, target_boxes: Tensor, is_positive: Tensor) -> Tensor:
    """IoU of the positives' boxes with their objects.

    Args:
        boxes: ``[P, 4]`` (x1, y1, x2, y2) predictions.
        target_boxes: ``[P, 4]``.
        is_positive: ``[N]``, P of them true.

    Returns:
        ``[N]``, detached, 0 where not positive.
    """
    quality = boxes.new_zeros(is_positive.shape)
    quality[is_positive] = bbox_overlaps(boxes.detach(), target_boxes, is_aligned=True).to(quality.dtype)
    return quality


def layer_box_loss(
    loss: Callable[..., Tensor], boxes: Tensor, target_boxes: Tensor, is_positive: Tensor, avg_factor: Tensor
) -> Tensor:
    """Average an mmdet box loss over the positives of each layer.

    Args:
        loss: mmdet box loss.
        boxes: ``[L, N, 4]`` predictions.
        target_boxes: ``[L, N, 4]``.
        is_positive: ``[L, N]``.
        avg_factor: ``[L]`` what the sum over the boxes of a layer is divided by.
    """
    losses = loss(boxes.flatten(0, 1), target_boxes.flatten(0, 1), reduction_override="none")  # [L*N] or [L*N, 4]
    return average_losses(losses.reshape(*is_positive.shape, -1) * is_positive[..., None], avg_factor)
