"""Rank & Sort Loss and Bucketed Rank & Sort Loss."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from brs_detr.losses.checks import check_delta
from brs_detr.losses.terms import ranking_losses


class RankSortLossOutput(NamedTuple):
    """Two scalars, each with a gradient of its own: positives above negatives, and positives in order of their IoU."""

    rank: Tensor
    sort: Tensor


def rank_sort_loss(logits: Tensor, targets: Tensor, delta: float = 0.5) -> RankSortLossOutput:
    """Rank & Sort Loss (Oksuz et al., ICCV 2021), exact at every delta.

    The means over the positives of the ranking error `brs_detr.losses.ranking.ranking_term` and of the sorting error
    `brs_detr.losses.sorting.sorting_term`, which state the equations.

    The ranking term needs O((N + P) log P) time for P positives, the sorting term O(P^2); memory is O(N).

    Args:
        logits: [N], any float dtype, finite.
        targets: [N], 0 = negative, (0, 1] = IoU of a positive, -1 = ignored. `ranking_targets` makes them from labels.
        delta: half the length of the step's ramp, in logits, >= 0.

    Returns:
        Ranking and sorting loss, scalars in [0, 1] attached to the logits. A weight on one of them reaches its gradient
        alone. 0 with zero gradient where there is no positive; no negative means a ranking loss of 0.

    Raises:
        TypeError, ValueError: see `brs_detr.losses.examples.split_examples`.
    """
    return RankSortLossOutput(*ranking_losses(logits, targets, delta, sorting=True))


def bucketed_rank_sort_loss(logits: Tensor, targets: Tensor, delta: float = 0.5) -> RankSortLossOutput:
    """Bucketed Rank & Sort Loss (BRS, ECCV 2024, Algorithm 2, Eq. 13 and 14).

    Negatives between two positives enter the ranking error as one, at their mean.

    Equals `rank_sort_loss` at ``delta = 0`` (Theorem 4.1), unless a negative is tied with a positive and shares its
    bucket with lower negatives. Arguments, result and errors are those of `rank_sort_loss`.
    """
    return RankSortLossOutput(*ranking_losses(logits, targets, delta, bucketed=True, sorting=True))


class RankSortLoss(nn.Module):
    """Module form of `rank_sort_loss`.

    Args:
        delta: half the length of the step's ramp, in logits, >= 0.
        loss_weight: factor of both results.
        sort_weight: further factor of the sorting loss.
    """

    def __init__(self, delta: float = 0.5, loss_weight: float = 1.0, sort_weight: float = 1.0) -> None:
        super().__init__()
        check_delta(delta)
        self.delta = delta
        self.loss_weight = loss_weight
        self.sort_weight = sort_weight

    def forward(self, logits: Tensor, targets: Tensor) -> RankSortLossOutput:
        """Return the weighted losses of logits [N] and targets [N]."""
        return self._weighted(rank_sort_loss(logits, targets, self.delta))

    def _weighted(self, loss: RankSortLossOutput) -> RankSortLossOutput:
        return RankSortLossOutput(loss.rank * self.loss_weight, loss.sort * (self.loss_weight * self.sort_weight))

    def extra_repr(self) -> str:
        """Show the stored arguments."""
        return f"delta={self.delta}, loss_weight={self.loss_weight}, sort_weight={self.sort_weight}"


class BucketedRankSortLoss(RankSortLoss):
    """Module form of `bucketed_rank_sort_loss`, with the arguments of `RankSortLoss`."""

    def forward(self, logits: Tensor, targets: Tensor) -> RankSortLossOutput:
        """Return the weighted losses of logits [N] and targets [N]."""
        return self._weighted(bucketed_rank_sort_loss(logits, targets, self.delta))
