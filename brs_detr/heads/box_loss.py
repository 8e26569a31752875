"""Box losses over the positives of a batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


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
