"""The weight that keeps box losses in step with a ranking loss."""

from __future__ import annotations

import torch
from torch import Tensor


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
