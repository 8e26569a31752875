"""The sorting error of the RS losses: positives against positives.

Few positives are compared pair by pair, one tile of the matrix at a time; many in O(P log P) time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from brs_detr.losses.cpu.ranking import quotient_or_zero
from brs_detr.losses.cpu.steps import Ramps, StepMatrix

MOST_IN_TILES = 1536  # with more positives, running sums are cheaper than all pairs
SMALLEST_DELTA = 1e-200  # a float32 logit can still be divided by it
TILE_ENTRIES = 1 << 18  # 2 MiB, so that a tile stays in cache


class Sorting(NamedTuple):
    """Result of `sort_positives`, each float64 [P].

    Args:
        num_above: ``sum_j H(s_j - s_i)``, i included.
        error: sorting error.
        gradient: gradient of the sum of the errors.
    """

    num_above: Tensor
    error: Tensor
    gradient: Tensor


def sort_positives(positives: Tensor, quality: Tensor, ramps: Ramps, delta: float) -> Sorting:
    """Compute the sorting errors (equations in `brs_detr.losses.rank_sort_loss`) in O(P) memory.

    Args:
        positives: float64 [P], logits, ascending, P >= 1.
        quality: float64 [P], their IoU.
        ramps: around the logits of the positives.
        delta: half the length of the step's ramp.
    """
    if len(positives) <= MOST_IN_TILES:
        return _sort_in_tiles(positives, quality, delta)
    return _sort_by_passes(positives, quality, ramps, delta)


def count_above(positives: Tensor, ramps: Ramps, delta: float) -> Tensor:
    """Return ``sum_j H(positives[j] - positives[i])``, i included, [P]; positives are float64 [P], ascending."""
    if len(positives) > MOST_IN_TILES:
        return StepMatrix(positives, ramps).sum_over_points()
    return torch.cat([above.sum(1) for _, _, (above, _) in _step_tiles(positives, delta)])


def _step_tiles(positives: Tensor, delta: float) -> Iterator[tuple[slice, int, Tensor]]:
    """Yield the matrix ``H(positives[j] - positives[i])`` in groups of rows i, without the zeros on their left.

    Yields:
        Slice of T rows, first column F, and a tensor [2, T, P - F] with the entries and scratch memory of their size.
        Columns before F are 0 in these rows. The next tile overwrites the tensor.
    """
    num_positives, start = len(positives), 0
    scaled = positives / (2 * max(delta, SMALLEST_DELTA))
    is_one_tile = num_positives**2 <= TILE_ENTRIES
    first_above = [0] if is_one_tile else torch.searchsorted(positives, positives - delta).tolist()
    buffer = positives.new_empty(2 * (num_positives**2 if is_one_tile else max(TILE_ENTRIES, num_positives)))
    while start < num_positives:
        first = first_above[start]
        rows = slice(start, min(num_positives, start + max(TILE_ENTRIES // (num_positives - first), 1)))
        shape = 2, rows.stop - start, num_positives - first
        tile = buffer[: math.prod(shape)].view(shape)
        if delta > 0:
            torch.sub(scaled[first:], scaled[rows, None], out=tile[0]).add_(0.5).clamp_(0, 1)
        else:
            torch.ge(positives[first:], positives[rows, None], out=tile[0])
        yield rows, first, tile
        start = rows.stop


def _sort_in_tiles(positives: Tensor, quality: Tensor, delta: float) -> Sorting:
    defect = 1 - quality
    num_above, errors, gradient = positives.new_zeros(3, len(positives))
    for rows, first, tile in _step_tiles(positives, delta):
        above, above_and_worse = tile
        torch.lt(quality[first:], quality[rows, None], out=above_and_worse).mul_(above)
        counts, defects = tile.sum(2), tile @ defect[first:]  # [2, T]
        num_above[rows] = counts[0]
        errors[rows], shares = _errors(*counts, *defects)
        gradient[first:].add_(shares @ above_and_worse)
    return Sorting(num_above, errors, gradient.sub_(errors))


def _sort_by_passes(positives: Tensor, quality: Tensor, ramps: Ramps, delta: float) -> Sorting:
    defect = 1 - quality
    above = StepMatrix(positives, ramps)
    num_above, defect_above = above.sum_over_points(), above.sum_over_points(defect)
    weights = torch.stack([torch.ones_like(defect), defect])
    num_worse, defect_worse = sum_over_above_and_worse(positives, quality, weights, ramps, delta)
    error, shares = _errors(num_above, num_worse, defect_above, defect_worse)
    shares.clamp_(max=2)  # only rounding exceeds it: error <= num_worse / num_above, and num_above >= 1 / 2
    # With all signs flipped, the positives that give a share are above and worse than those that receive it.
    mirrored = -positives.flip(0)
    (received,) = sum_over_above_and_worse(
        mirrored, -quality.flip(0), shares.flip(0)[None], Ramps(mirrored, delta), delta
    ).flip(1)
    return Sorting(num_above, error, received - error)


def _errors(num_above: Tensor, num_worse: Tensor, defect_above: Tensor, defect_worse: Tensor) -> tuple[Tensor, Tensor]:
    """Return errors [T], and the share of each worse positive above, from counts and summed defects [T]."""
    target = (defect_above - defect_worse).div_(num_above - num_worse)
    error = (defect_above / num_above).sub_(target).clamp_(min=0)
    return error, quotient_or_zero(error, num_worse)


def sum_over_above_and_worse(logits: Tensor, quality: Tensor, weights: Tensor, ramps: Ramps, delta: float) -> Tensor:
    """Return ``sum_j weights[k, j] H(logits[j] - logits[i]) [quality[j] < quality[i]]`` as a tensor [K, P].

    In the order of the logits, those with a full step over i are one range and those on its ramp another. A wavelet
    matrix over the ranks of the qualities (Information Systems 47, 2015) gives the weight of lower rank in a range, in
    one pass per bit: a stable partition and running sums. O(P log P) time, O(P) memory.

    Sums are integers in fixed point, so that the small difference of two large running sums is exact.

    Args:
        logits: float64 [P], ascending.
        quality: float64 [P].
        weights: float64 [K, P], in [0, 2].
        ramps: around the logits.
        delta: half the length of the ramp.
    """
    segments, offsets = ramps.locate(logits)
    travelled = ramps.travelled.index_select(0, segments).add_(offsets)  # [P], up to each logit
    num_weights, num_logits = weights.shape
    scale = weights.new_tensor(
        [_largest_scale(2 * num_logits)] * num_weights
        + [_largest_scale(2 * num_logits * travelled[-1].item())] * num_weights
    )
    columns = (torch.cat([weights, weights * travelled]).T * scale).round_().long()  # [P, 2K]
    # At delta 0, ties make the range on the ramp start after its end; it then contributes 0.
    starts = torch.stack(
        [torch.searchsorted(logits, logits - delta, right=True), torch.searchsorted(logits, logits + delta)]
    )
    ranks = torch.unique(quality, return_inverse=True)[1]
    on_ramp, full = ((sums / scale).T for sums in _sums_of_lower_rank(ranks, columns, starts))  # [2K, P]
    begins = ramps.travelled[1:].index_select(0, ramps.before[:num_logits])  # [P]
    return (full[:num_weights] + on_ramp[num_weights:]).sub_(begins * on_ramp[:num_weights]).clamp_(min=0)


def _largest_scale(largest_sum: float) -> float:
    """Return the power of two that scales the largest sum to an int64."""
    return 2.0 ** (61 - math.ceil(math.log2(largest_sum + 1)))


def _sums_of_lower_rank(ranks: Tensor, columns: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Sum, for each i, the columns of those with ``ranks[j] < ranks[i]`` and j in a range.

    Args:
        ranks: int64 [P], from 0.
        columns: int64 [P, C].
        starts: int64 [2, P], starts of the two ranges of each i; the first ends where the second starts, the second at
            P.

    Returns:
        float64 [P, C] over each range, exact up to the last rounding.
    """
    num_logits, num_columns = columns.shape
    own_ranks = ranks
    bounds = torch.cat([starts.flatten(), starts.new_full((num_logits,), num_logits)])  # [3P]
    totals = columns.new_zeros(2, num_logits, num_columns)
    for bit in reversed(range(int(ranks.max()).bit_length())):
        is_low = 1 - ranks.bitwise_right_shift(bit).bitwise_and_(1)
        low_before = _running_sums(is_low)  # [P + 1]
        sums = _running_sums(columns * is_low[:, None])  # [P + 1, C]
        takes_low = own_ranks.bitwise_right_shift(bit).bitwise_and_(1)  # lower ranks that differ first in this bit
        at_bounds = sums.index_select(0, bounds).view(3, num_logits, num_columns)
        totals.addcmul_(at_bounds.diff(dim=0), takes_low[:, None])
        low_bounds = low_before.index_select(0, bounds)
        high_bounds = (bounds - low_bounds).add_(low_before[-1])
        bounds = torch.where(takes_low.bool().repeat(3), high_bounds, low_bounds)
        order = torch.cat([is_low.nonzero(), (1 - is_low).nonzero()]).squeeze(1)
        ranks, columns = ranks.index_select(0, order), columns.index_select(0, order)
    on_ramp, full = totals.double()
    return on_ramp, full


def _running_sums(values: Tensor) -> Tensor:
    """Return the sums of all values before each index, [P + 1, ...]."""
    sums = values.new_zeros(len(values) + 1, *values.shape[1:])
    torch.cumsum(values, 0, out=sums[1:])
    return sums
