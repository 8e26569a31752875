"""Ranking losses in the place of a head's classification loss (BRS-DETR, section 4.2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from brs_detr.heads.classification import ClassificationTargets
from brs_detr.losses import RankSortLossOutput, ranking_targets, self_balancing_weight


class RankingLossMixin:
    """Classify by ranking, and weigh box losses by ``L_rank / L_box`` (self-balancing, RS Loss, section 4.2).

    Put it before a head that classifies through ``classification_loss`` and passes its box losses through
    ``weigh_box_losses``. ``loss_cls`` of the head names one of the losses registered in `brs_detr.heads`.

    Args:
        zero_iou_is_negative: treat a positive whose box does not touch its object as a negative, as the official
            code does by accident: such a query is pushed down as if it were background.
    """

    loss_cls: Any  # one of brs_detr.heads.ranking_loss

    def __init__(self, *args: Any, zero_iou_is_negative: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.zero_iou_is_negative = zero_iou_is_negative

    def classification_loss(self, logits: Tensor, targets: ClassificationTargets) -> dict[str, Tensor]:
        """Rank ``logits [..., N, C]`` of all classes of a layer together, sorted by the IoU of the positives."""
        quality = ranking_targets(
            targets.labels,
            targets.quality,
            logits.shape[-1],
            weights=targets.weights,
            zero_iou_is_negative=self.zero_iou_is_negative,
        )
        loss = self.loss_cls(logits.flatten(-2), quality.flatten(-2), max_positives=logits.shape[-2])
        if isinstance(loss, RankSortLossOutput):
            return {"loss_rank": loss.rank, "loss_sort": loss.sort}
        return {"loss_rank": loss}

    def weigh_box_losses(self, box_losses: dict[str, Tensor], classification: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scale every box loss to the value of its layer's ranking losses, without a gradient through the scale."""
        ranking = torch.stack(list(classification.values())).sum(0)
        return {name: loss * self_balancing_weight(ranking, loss) for name, loss in box_losses.items()}


def constant_losses(losses: dict[str, Tensor], is_constant: Tensor, value: float) -> dict[str, Tensor]:
    """Make every loss ``value``, without a gradient, where ``is_constant`` (a scalar) is true."""
    return {name: torch.where(is_constant, torch.full_like(loss, value), loss) for name, loss in losses.items()}
