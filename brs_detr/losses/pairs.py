"""Positives against positives, pair by pair, in tiles that are never all held at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from brs_detr.losses.step import Ramps, StepMatrix

MOST_IN_TILES = 1536  # from here on running sums are cheaper than all pairs
SMALLEST_DELTA = 1e-200  # with which a float32 logit can still be divided
TILE_ENTRIES = 1 << 18  # pairs held at a time: 2 MiB, so that a tile stays in cache


def count_above(positives: Tensor, ramps: Ramps, delta: float) -> Tensor:
    """Return ``sum_j H(positives[j] - positives[i])``, i included, as a tensor [P].

    Args:
        positives: float64 [P], logits, ascending.
        ramps: around them.
        delta: half the length of the ramp.
    """
    if len(positives) > MOST_IN_TILES:
        return StepMatrix(positives, ramps).sum_over_points()
    return torch.cat([above.sum(1) for _, _, (above, _) in step_tiles(positives, delta)])


def step_tiles(positives: Tensor, delta: float) -> Iterator[tuple[slice, int, Tensor]]:
    """Cut the matrix ``H(positives[j] - positives[i])`` into groups of rows i, without the zeros on their left.

    Args:
        positives: float64 [P], logits, ascending.
        delta: half the length of the ramp.

    Yields:
        T rows, the first column F, and a tensor [2, T, P - F]: the entries, and room for as many numbers. Columns
        before F are 0 in these rows. The tensor is used again for the next tile.
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
