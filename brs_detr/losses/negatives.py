"""Negatives as a ranking loss meets them: one by one, or in buckets between the positives."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from brs_detr.losses.search import count_below
from brs_detr.losses.step import Ramps, StepMatrix


class Negatives(Protocol):
    """M negatives, some of them perhaps out of reach, in their relation to P positives."""

    def count_above(self) -> Tensor:
        """How many of them rank above each positive, [P]."""

    def collect(self, shares: Tensor) -> Tensor:
        """What each negative receives, [M], when every positive hands ``shares`` [P] to a negative fully above it."""


class SingleNegatives:
    """Every negative for itself (AP Loss and RS Loss).

    Args:
        negatives: float64 [M], logits.
        ramps: around the logits of the positives.
    """

    def __init__(self, negatives: Tensor, ramps: Ramps) -> None:
        self._steps = StepMatrix(negatives, ramps)

    def count_above(self) -> Tensor:
        """Count them, [P]."""
        return self._steps.sum_over_points()

    def collect(self, shares: Tensor) -> Tensor:
        """Collect the shares [P] of the positives, [M]."""
        return self._steps.sum_over_centres(shares)


class BucketedNegatives:
    """The negatives between two successive positives as one (BRS, ECCV 2024, Algorithm 2).

    A bucket stands at the mean of its logits and counts as often as it has negatives. A negative tied with a positive
    belongs to the bucket below it, one below ``positives[0] - delta`` to none. Sizes and sums are gathered by segment,
    so that only the positives are sorted.

    Args:
        negatives: float64 [M], logits.
        positives: float64 [P], logits, ascending.
        ramps: around the logits of the positives.
        delta: half the length of the ramp.

    Attributes:
        inds: int32 [M], bucket of each negative. In bucket 0 is what is out of reach: it lies below every ramp, where
            nothing counts and nothing is received.
        sizes: float64 [P + 2].
        logits: float64 [P + 2], means; of an empty bucket, that of the positive above.
    """

    def __init__(self, negatives: Tensor, positives: Tensor, ramps: Ramps, delta: float) -> None:
        just_below = math.nextafter(positives[0].item() - delta, -math.inf)
        marks = pad(positives, (1, 0), value=just_below)
        anchors = torch.cat([marks, positives[-1:]])  # [P + 2], the upper end of each bucket
        self.inds = count_below(marks, negatives)
        # Summed as distances from the upper end: a bucket tied with it then has exactly its logit.
        distances = negatives - anchors.index_select(0, self.inds)
        self.sizes = torch.bincount(self.inds, minlength=len(anchors)).double()
        sums = torch.bincount(self.inds, distances, minlength=len(anchors)).double()
        self.logits = anchors + sums.div_(self.sizes.clamp(min=1))
        self._steps = StepMatrix(self.logits, ramps)

    def count_above(self) -> Tensor:
        """Count them, [P]."""
        return self._steps.sum_over_points(self.sizes)

    def collect(self, shares: Tensor) -> Tensor:
        """Collect the shares [P] of the positives, [M]."""
        return self._steps.sum_over_centres(shares).index_select(0, self.inds)
