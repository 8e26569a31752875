"""The ranking error, shared by the AP and RS losses: positives against negatives, one by one or in buckets."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from brs_detr.losses.cpu.steps import Ramps, StepMatrix, count_below


class Negatives:
    """M negatives, some of them perhaps out of reach, in relation to P positives.

    Args:
        negatives: float64 [M], logits.
        ramps: around the logits of the positives.
    """

    def __init__(self, negatives: Tensor, ramps: Ramps) -> None:
        self._steps = StepMatrix(negatives, ramps)

    def count_above(self) -> Tensor:
        """Count the negatives above each positive, [P]."""
        return self._steps.sum_over_points()

    def share_out(self, shares: Tensor) -> Tensor:
        """Return the gradients [M] if every positive gives its share, of ``shares`` [P], to each negative above it."""
        return self._steps.sum_over_centres(shares)


class BucketedNegatives(Negatives):
    """Negatives in one bucket between each two successive positives (BRS, ECCV 2024, Algorithm 2).

    A bucket stands at the mean of its logits and counts as often as it has negatives. A negative tied with a positive
    belongs to the bucket below it. Sizes and sums are gathered by bucket, so that only the positives are sorted.

    Args:
        negatives: float64 [M], logits.
        positives: float64 [P], logits, ascending.
        ramps: around the logits of the positives.
        delta: half the length of the ramp.

    Attributes:
        inds: int32 [M], bucket of each negative. Bucket 0 holds those below ``positives[0] - delta``: it lies below
            every ramp and has no effect.
        sizes: float64 [P + 2].
        logits: float64 [P + 2], means; for an empty bucket, the logit of the positive above.
    """

    def __init__(self, negatives: Tensor, positives: Tensor, ramps: Ramps, delta: float) -> None:
        just_below = math.nextafter(positives[0].item() - delta, -math.inf)
        lower_ends = pad(positives, (1, 0), value=just_below)
        upper_ends = torch.cat([lower_ends, positives[-1:]])  # [P + 2]
        self.inds = count_below(lower_ends, negatives)
        # Summed as distances from the upper end: a bucket tied with it then has exactly its logit.
        distances = negatives - upper_ends.index_select(0, self.inds)
        self.sizes = torch.bincount(self.inds, minlength=len(upper_ends)).double()
        sums = torch.bincount(self.inds, distances, minlength=len(upper_ends)).double()
        self.logits = upper_ends + sums.div_(self.sizes.clamp(min=1))
        super().__init__(self.logits, ramps)

    def count_above(self) -> Tensor:
        """Count the negatives above each positive, [P]: each bucket counts as often as it has members."""
        return self._steps.sum_over_points(self.sizes)

    def share_out(self, shares: Tensor) -> Tensor:
        """Return the gradients [M]: each negative receives what its bucket would receive as a single negative."""
        return super().share_out(shares).index_select(0, self.inds)


def rank_positives(
    negatives: Negatives, num_above: Tensor, delta: float, *, interpolated: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the ranking error of each positive [P] and the gradient of the mean error by the negatives [M].

    See `brs_detr.losses.ap_loss` for the equations.

    Args:
        negatives: single or in buckets.
        num_above: float64 [P], ``sum_k H(s_k - s_i)``; positives in ascending order of their logits.
        delta: half the length of the step's ramp.
        interpolated: take the smallest error among the positives ranked no higher (the running maximum of precision),
            and count the positive itself as 1 rather than H(0).
    """
    num_false_positives = negatives.count_above()
    rank = num_above + num_false_positives
    if interpolated and delta > 0:
        rank += 0.5
    error = num_false_positives / rank
    if interpolated:
        error = error.cummin(0).values
    shares = quotient_or_zero(error, num_false_positives).div_(len(error))
    return error, negatives.share_out(shares)


def quotient_or_zero(error: Tensor, count: Tensor) -> Tensor:
    """Divide each error [P] by the number of examples that cause it; 0 where there are none."""
    return (error / count).nan_to_num_(0, posinf=0)
