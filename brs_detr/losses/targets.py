"""What a detection head gives a ranking loss, and the weight that keeps its box loss in step with it."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_QUALITY = 1e-6
"""Quality of a positive whose box does not overlap its object: small, and still a positive."""


def ranking_targets(
    labels: Tensor,
    quality: Tensor,
    num_classes: int,
    weights: Tensor | None = None,
    zero_iou_is_negative: bool = False,
) -> Tensor:
    """Dense targets for class-wise logits: the IoU at the class of a positive, 0 elsewhere, -1 where ignored.

    Flatten their last two dimensions together with those of the logits for `rank_sort_loss` and its siblings.

    Args:
        labels: int64 [..., N], class of each example, ``num_classes`` = background.
        quality: [..., N], IoU of the positives with their objects in [0, 1], clamped to it; not read for background.
        num_classes: number of columns, without background.
        weights: [..., N], 0 = the example is ignored in every class; None = none is.
        zero_iou_is_negative: let a positive with IoU 0 become a negative of its own class, as in the official code;
            otherwise its target is `MIN_QUALITY`.

    Returns:
        [..., N, num_classes], detached, of quality's dtype and at least float32.

    Raises:
        ValueError: shapes do not agree.
    """
    for name, tensor in (("quality", quality), ("weights", weights)):
        if tensor is not None and tensor.shape != labels.shape:
            raise ValueError(f"{name} must be of the shape of labels, {list(labels.shape)}, got {list(tensor.shape)}")
    quality = quality.detach().to(torch.promote_types(quality.dtype, torch.float32))
    quality = quality.clamp(min=0 if zero_iou_is_negative else MIN_QUALITY, max=1)
    targets = quality.new_zeros(*labels.shape, num_classes + 1)
    targets = targets.scatter_(-1, labels[..., None], quality[..., None])[..., :num_classes]
    return targets if weights is None else targets.masked_fill(weights[..., None] == 0, -1)


def self_balancing_weight(ranking_loss: Tensor, box_loss: Tensor) -> Tensor:
    """Weight that gives a box loss the value of the ranking loss (RS Loss, ICCV 2021; BRS, ECCV 2024, Eq. 17).

    ``lambda_box = L_ranking / L_box``. Multiplied by it a box loss keeps its direction and takes the ranking loss's
    value, so that a ``loss_weight`` of its own has no effect.

    Args:
        ranking_loss: scalar, ranking plus sorting loss with their weights.
        box_loss: scalar >= 0.

    Returns:
        Detached scalar; 0 where the box loss is 0. Nothing is read back from the device.
    """
    weight = ranking_loss.detach() / box_loss.detach()
    return torch.where(weight.isfinite(), weight, 0)
