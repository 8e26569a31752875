"""Negatives as a ranking loss meets them: one by one, or in buckets between the positives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from brs_detr.losses.examples import Examples


class NegativeGroups(NamedTuple):
    """Negatives that share one logit and one gradient.

    Args:
        logits: float64 [G], the logit that stands for the group.
        sizes: float64 [G], how many negatives are in it; 0 for an empty one.
        members: float64 [N], 1 where an example belongs to a group.
        group_inds: int64 [N], the group of each example; None where example j is group j.
    """

    logits: Tensor
    sizes: Tensor
    members: Tensor
    group_inds: Tensor | None

    def spread(self, values: Tensor) -> Tensor:
        """Give every member the value [G] of its group and everything else 0, as a tensor [N]."""
        return (values if self.group_inds is None else values[self.group_inds]) * self.members


def single_negatives(examples: Examples) -> NegativeGroups:
    """Take every negative for itself (AP Loss and RS Loss)."""
    return NegativeGroups(examples.logits, examples.is_negative, examples.is_negative, None)


def bucket_negatives(examples: Examples, delta: float) -> NegativeGroups:
    """Put the negatives between two successive positives into one bucket (BRS, ECCV 2024, Algorithm 2).

    A bucket stands at the mean of its logits. Negatives below ``min(positives) - delta`` belong to none. A negative
    tied with a positive belongs to the bucket below it. Sizes and sums are gathered by segment, so that only the
    positives are sorted.

    Args:
        examples: with at least one positive.
        delta: half the length of the step's ramp.
    """
    logits, positives = examples.logits, examples.positives
    members = examples.is_negative * (logits >= positives[0] - delta)
    bucket_inds = torch.searchsorted(positives, logits)  # [N], how many positives are strictly below
    anchors = torch.cat([positives, positives[-1:]])  # [P + 1], the positive above each bucket
    sizes = torch.zeros_like(anchors).index_add_(0, bucket_inds, members)
    # Summed as distances from the positive above: a bucket tied with it then has exactly its logit.
    distances = torch.zeros_like(anchors).index_add_(0, bucket_inds, (logits - anchors[bucket_inds]) * members)
    return NegativeGroups(anchors + distances / sizes.clamp(min=1), sizes, members, bucket_inds)
