"""The losses of `brs_detr.losses` as mmdet's heads want their ``loss_cls``."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from brs_detr import losses
from brs_detr.losses.published import loop_rank_sort_loss


class SigmoidClassification:
    """What mmdet's heads ask of a classification loss: one sigmoid a class, no logit for the background.

    Args:
        use_sigmoid: anchor heads read it off the config; ranking losses know no other way.
    """

    use_sigmoid = True
    custom_cls_channels = True
    custom_activation = True

    def __init__(self, *args: Any, use_sigmoid: bool = True, **kwargs: Any) -> None:
        if not use_sigmoid:
            raise ValueError("a ranking loss scores every class by a sigmoid: leave out use_sigmoid=False")
        super().__init__(*args, **kwargs)

    def get_cls_channels(self, num_classes: int) -> int:
        """Logits a box."""
        return num_classes

    def get_activation(self, logits: Tensor) -> Tensor:
        """Scores ``[N, C + 1]`` of logits ``[N, C]``; the background, which mmdet drops, scores 0."""
        return F.pad(logits.sigmoid(), (0, 1))


class APLoss(SigmoidClassification, losses.APLoss):
    """Average Precision Loss."""


class BucketedAPLoss(SigmoidClassification, losses.BucketedAPLoss):
    """Bucketed Average Precision Loss."""


class RankSortLoss(SigmoidClassification, losses.RankSortLoss):
    """Rank & Sort Loss."""


class BucketedRankSortLoss(SigmoidClassification, losses.BucketedRankSortLoss):
    """Bucketed Rank & Sort Loss."""


class ALRPLoss(SigmoidClassification, losses.ALRPLoss):
    """Average Localisation-Recall-Precision Loss, for heads with `RankingDetectionMixin`."""


class DRLoss(SigmoidClassification, losses.DRLoss):
    """Distributional Ranking Loss."""


class LoopRankSortLoss(RankSortLoss):
    """Rank & Sort Loss one positive after the other, as first published: the same numbers, kept to measure against."""

    def forward(
        self, logits: Tensor, targets: Tensor, *, max_positives: int | None = None
    ) -> losses.RankSortLossOutput:
        """Return the weighted losses of logits and targets, [N] or [L, N]."""
        targets = targets.to(logits.dtype)
        if logits.dim() == 1:
            return self._weighted(loop_rank_sort_loss(logits, targets, self.delta))
        rows = [loop_rank_sort_loss(*row, self.delta) for row in zip(logits, targets.expand_as(logits), strict=True)]
        return self._weighted(losses.RankSortLossOutput(*map(torch.stack, zip(*rows, strict=True))))
