"""Box losses over the positives of a batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from brs_detr.heads.classification import average_losses


def positive_box_loss(
    loss: Callable[..., Tensor], boxes: Tensor, target_boxes: Tensor, avg_factor: Tensor | float
) -> Tensor:
    """Score P predicted boxes; without any, 0 that still reaches the parameters behind ``boxes``.

    mmdet's IoU losses return a constant for empty input, which leaves parameters without a gradient and stalls
    distributed training.

    Args:
        loss: mmdet box loss.
        boxes: ``[P, 4]`` predictions.
        target_boxes: ``[P, 4]``.
        avg_factor: what the sum over boxes is divided by.
    """
    return loss(boxes, target_boxes, avg_factor=avg_factor) + 0 * boxes.sum()


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
