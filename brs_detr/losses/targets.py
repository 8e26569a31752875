"""Targets for a ranking loss, and the weight that balances the box loss against it."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_QUALITY = 1e-6
"""Target of a positive whose box does not overlap its object: small, but still positive."""


def ranking_targets(
    labels: Tensor,
    quality: Tensor,
    num_classes: int,
    weights: Tensor | None = None,
    zero_iou_is_negative: bool = False,
) -> Tensor:
    """Return dense targets for class-wise logits: the IoU at the class of a positive, 0 elsewhere, -1 where ignored.

    Flatten their last two dimensions together with those of the logits for `rank_sort_loss` and its siblings.

    Args:
        labels: int64 [..., N], class of each example, ``num_classes`` = background.
        quality: [..., N], IoU of each positive with its object, clamped to [0, 1]; ignored for background.
        num_classes: number of classes without background.
        weights: [..., N], 0 = the example is ignored in every class; None = no example is ignored.
        zero_iou_is_negative: make a positive with IoU 0 a negative, as the official code does; otherwise its target is
            `MIN_QUALITY`.

    Returns:
        [..., N, num_classes], detached, in the dtype of ``quality`` but at least float32.

    Raises:
        ValueError: shapes do not agree.
    """
    for name, tensor in (("quality", quality), ("weights", weights)):
        if tensor is not None and tensor.shape != labels.shape:
            raise ValueError(f"{name} must have the shape of labels, {list(labels.shape)}, got {list(tensor.shape)}")
    quality = quality.detach().to(torch.promote_types(quality.dtype, torch.float32))
    quality = quality.clamp(min=0 if zero_iou_is_negative else MIN_QUALITY, max=1)
    targets = quality.new_zeros(*labels.shape, num_classes + 1)
    targets = targets.scatter_(-1, labels[..., None], quality[..., None])[..., :num_classes]
    return targets if weights is None else targets.masked_fill(weights[..., None] == 0, -1)


def self_balancing_weight(ranking_loss: Tensor, box_loss: Tensor) -> Tensor:
    """Return ``ranking_loss / box_loss``, which balances the two losses (RS Loss, ICCV 2021; BRS, ECCV 2024, Eq. 17).

    With this weight the box loss has the value of the ranking loss and keeps the direction of its gradient; a
    ``loss_weight`` of the box loss has no effect. Does not synchronise with the device.

    Args:
        ranking_loss: scalar, weighted sum of the ranking and the sorting loss.
        box_loss: scalar >= 0.

    Returns:
        Detached scalar; 0 if the box loss is 0.
    """
    weight = ranking_loss.detach() / box_loss.detach()
    return torch.where(weight.isfinite(), weight, 0)
