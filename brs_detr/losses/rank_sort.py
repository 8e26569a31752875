"""Rank & Sort Loss and Bucketed Rank & Sort Loss."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from brs_detr.losses.checks import check_delta
from brs_detr.losses.operator import ranking_losses


class RankSortLossOutput(NamedTuple):
    """Ranking loss (positives above negatives) and sorting loss (positives by IoU), each with its own gradient."""

    rank: Tensor
    sort: Tensor


def rank_sort_loss(
    logits: Tensor, targets: Tensor, delta: float = 0.5, *, max_positives: int | None = None
) -> RankSortLossOutput:
    """Rank & Sort Loss (Oksuz et al., ICCV 2021), exact at every delta.

    The mean ranking error and the mean sorting error of the positives. For positive i, negatives j and positives k,
    with quality q (IoU) and the step ``H(x) = clamp(x / (2 delta) + 1/2, 0, 1)``, or ``[x >= 0]`` at ``delta = 0``::

        num_false_positives(i) = sum_j H(s_j - s_i)
        rank(i)                = sum_k H(s_k - s_i) + num_false_positives(i)
        ranking_error(i)       = num_false_positives(i) / rank(i)
        current(i)             = sum_k H(s_k - s_i) (1 - q_k) / sum_k H(s_k - s_i)
        target(i)              = the same quotient over those k with q_k >= q_i
        sorting_error(i)       = current(i) - target(i)

    The gradient of positive i is minus its errors. The negatives above it share its ranking error, and the positives
    of lower quality above it share its sorting error, each in proportion to its step.

    Each row of logits, such as a decoder layer, is ranked on its own. With P positives it takes O((N + P) log P) time
    on a CPU and O(N) memory; on a CUDA device positives are compared pair by pair.

    Args:
        logits: [N] or [L, N], any float dtype, finite.
        targets: [N] or [L, N], 0 = negative, (0, 1] = IoU of a positive, -1 = ignored; [N] is shared by all rows.
            `ranking_targets` makes them from labels.
        delta: half the length of the step's ramp, in logits, >= 0.
        max_positives: upper bound on the positives per row, >= 1; default N. It is the size of the buffers on a CUDA
            device, so a tight bound saves memory and time there.

    Returns:
        Differentiable ranking and sorting loss in [0, 1], scalars or [L]. A weight on one of them scales only its own
        gradient. Both are 0 with zero gradient where a row has no positive; the ranking loss also where it has no
        negative.

    Raises:
        TypeError: the dtype of ``logits`` is not a float dtype.
        ValueError: shapes or devices do not agree, or a value is out of range.
    """
    return RankSortLossOutput(*ranking_losses(logits, targets, delta, max_positives, sorting=True))


def bucketed_rank_sort_loss(
    logits: Tensor, targets: Tensor, delta: float = 0.5, *, max_positives: int | None = None
) -> RankSortLossOutput:
    """Bucketed Rank & Sort Loss (BRS, ECCV 2024, Algorithm 2, Eq. 13 and 14).

    In the ranking error, the negatives between two positives share one step, at their mean. Equals `rank_sort_loss` at
    ``delta = 0`` (Theorem 4.1) except for ties: a negative tied with a positive counts as below it if it shares its
    bucket with lower negatives. Arguments, result and errors are those of `rank_sort_loss`.
    """
    return RankSortLossOutput(*ranking_losses(logits, targets, delta, max_positives, bucketed=True, sorting=True))


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

    def forward(self, logits: Tensor, targets: Tensor, *, max_positives: int | None = None) -> RankSortLossOutput:
        """Return the weighted losses of logits and targets, [N] or [L, N]."""
        return self._weighted(rank_sort_loss(logits, targets, self.delta, max_positives=max_positives))

    def _weighted(self, loss: RankSortLossOutput) -> RankSortLossOutput:
        return RankSortLossOutput(loss.rank * self.loss_weight, loss.sort * (self.loss_weight * self.sort_weight))

    def extra_repr(self) -> str:
        """Show the stored arguments."""
        return f"delta={self.delta}, loss_weight={self.loss_weight}, sort_weight={self.sort_weight}"


class BucketedRankSortLoss(RankSortLoss):
    """Module form of `bucketed_rank_sort_loss`, with the arguments of `RankSortLoss`."""

    def forward(self, logits: Tensor, targets: Tensor, *, max_positives: int | None = None) -> RankSortLossOutput:
        """Return the weighted losses of logits and targets, [N] or [L, N]."""
        return self._weighted(bucketed_rank_sort_loss(logits, targets, self.delta, max_positives=max_positives))
