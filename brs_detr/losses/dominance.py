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
    way = torch.cat([offsets.new_zeros(1), ramps.travelled])[segments] + offsets  # [P]
    scale = 2.0 ** (60 - math.ceil(math.log2(len(logits) * (2 + way[-1].item()))))
    columns = (torch.cat([weights, weights * way]) * scale).round_().long()  # [2K, P]
    starts = torch.stack(
        [torch.searchsorted(logits, logits - delta, right=True), torch.searchsorted(logits, logits + delta)]
    )
    ranks = torch.unique(quality, return_inverse=True)[1]
    on_ramp, full = _sums_of_lower_rank(ranks, columns, starts)
    num_weights = len(weights)
    begins = ramps.travelled[ramps.lower]  # [P]
    sums = full[:num_weights] + on_ramp[num_weights:] - begins * on_ramp[:num_weights]
    return sums.div_(scale).clamp_(min=0)


def _sums_of_lower_rank(ranks: Tensor, columns: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Sum, for each i, the columns of those with ``ranks[j] < ranks[i]`` and j in a range.

    Args:
        ranks: int64 [P], from 0.
        columns: int64 [C, P].
        starts: int64 [2, P], where the two ranges of each i begin: the first ends where the second begins, and the
            second at P.

    Returns:
        float64 [C, P] over each range. Both are exact up to the last rounding.
    """
    num_examples = len(ranks)
    own_ranks = ranks
    bounds = torch.cat([starts, torch.full_like(starts[:1], num_examples)])  # [3, P]
    totals = columns.new_zeros(len(columns), 2, num_examples)
    for bit in reversed(range(int(ranks.max()).bit_length())):
        is_low = ranks.bitwise_and(1 << bit) == 0
        low_before = _running_sums(is_low)  # [P + 1]
        sums = _running_sums(columns * is_low)  # [C, P + 1]
        takes_low = own_ranks.bitwise_and(1 << bit) != 0  # those of lower rank that differ first in this bit
        in_ranges = sums[:, bounds].diff(dim=1)  # [C, 2, P]
        totals += in_ranges.mul_(takes_low)
        low_bounds = low_before[bounds]
        num_low = low_before[-1]
        bounds = torch.where(takes_low, num_low + bounds - low_bounds, low_bounds)
        order = torch.cat([is_low.nonzero(), is_low.logical_not().nonzero()]).squeeze(1)
        ranks, columns = ranks[order], columns[:, order]
    on_ramp, full = totals.double().unbind(1)
    return on_ramp, full


def _running_sums(values: Tensor) -> Tensor:
    """Sums of everything before each place, [..., P + 1]."""
    sums = values.new_zeros(*values.shape[:-1], values.shape[-1] + 1, dtype=torch.int64)
    torch.cumsum(values, -1, out=sums[..., 1:])
    return sums
