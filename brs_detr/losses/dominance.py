"""Sums over the pairs in which one example is above the other and yet worse, without looking at every pair."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from brs_detr.losses.step import Ramps


def sum_over_above_and_worse(logits: Tensor, quality: Tensor, weights: Tensor, ramps: Ramps, delta: float) -> Tensor:
    """Return ``sum_j weights[k, j] H(logits[j] - logits[i]) [quality[j] < quality[i]]`` as a tensor [K, P].

    In the order of the logits, those with a full step over i are one range and those on its ramp another. A wavelet
    matrix over the ranks of the qualities (Information Systems 47, 2015) tells how much weight of lower rank lies in a
    range: one pass a bit, each a stable partition and running sums. O(P log P) time, O(P) memory.

    Sums are made of integers in fixed point, so that the small difference of two large running sums is exact.

    Args:
        logits: float64 [P], ascending.
        quality: float64 [P].
        weights: float64 [K, P], in [0, 2].
        ramps: around the logits.
        delta: half the length of the ramp.
    """
    segments, offsets = ramps.locate(logits)
    way = ramps.travelled.index_select(0, segments).add_(offsets)  # [P]
    num_weights, num_examples = weights.shape
    scale = weights.new_tensor(
        [_largest_scale(2 * num_examples)] * num_weights
        + [_largest_scale(2 * num_examples * way[-1].item())] * num_weights
    )
    columns = (torch.cat([weights, weights * way]).T * scale).round_().long()  # [P, 2K]
    # At delta 0 ties make the range on the ramp begin after its end. What it then takes off is 0: their ways are equal.
    starts = torch.stack(
        [torch.searchsorted(logits, logits - delta, right=True), torch.searchsorted(logits, logits + delta)]
    )
    ranks = torch.unique(quality, return_inverse=True)[1]
    on_ramp, full = ((sums / scale).T for sums in _sums_of_lower_rank(ranks, columns, starts))  # [2K, P]
    begins = ramps.travelled[1:].index_select(0, ramps.before[:num_examples])  # [P]
    return (full[:num_weights] + on_ramp[num_weights:]).sub_(begins * on_ramp[:num_weights]).clamp_(min=0)


def _largest_scale(largest_sum: float) -> float:
    """The power of two by which the largest sum fits an int64."""
    return 2.0 ** (61 - math.ceil(math.log2(largest_sum + 1)))


def _sums_of_lower_rank(ranks: Tensor, columns: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Sum, for each i, the columns of those with ``ranks[j] < ranks[i]`` and j in a range.

    Args:
        ranks: int64 [P], from 0.
        columns: int64 [P, C].
        starts: int64 [2, P], where the two ranges of each i begin: the first ends where the second begins, and the
            second at P.

    Returns:
        float64 [P, C] over each range. Both are exact up to the last rounding.
    """
    num_examples, num_columns = columns.shape
    own_ranks = ranks
    bounds = torch.cat([starts.flatten(), starts.new_full((num_examples,), num_examples)])  # [3P]
    totals = columns.new_zeros(2, num_examples, num_columns)
    for bit in reversed(range(int(ranks.max()).bit_length())):
        is_low = 1 - ranks.bitwise_right_shift(bit).bitwise_and_(1)
        low_before = _running_sums(is_low)  # [P + 1]
        sums = _running_sums(columns * is_low[:, None])  # [P + 1, C]
        takes_low = own_ranks.bitwise_right_shift(bit).bitwise_and_(1)  # lower ranks that differ first in this bit
        at_bounds = sums.index_select(0, bounds).view(3, num_examples, num_columns)
        totals.addcmul_(at_bounds.diff(dim=0), takes_low[:, None])
        low_bounds = low_before.index_select(0, bounds)
        high_bounds = (bounds - low_bounds).add_(low_before[-1])
        bounds = torch.where(takes_low.bool().repeat(3), high_bounds, low_bounds)
        order = torch.cat([is_low.nonzero(), (1 - is_low).nonzero()]).squeeze(1)
        ranks, columns = ranks.index_select(0, order), columns.index_select(0, order)
    on_ramp, full = totals.double()
    return on_ramp, full


def _running_sums(values: Tensor) -> Tensor:
    """Sums of everything before each place, [P + 1, ...]."""
    sums = values.new_zeros(len(values) + 1, *values.shape[1:])
    torch.cumsum(values, 0, out=sums[1:])
    return sums
