"""The step function of the ranking losses, one pair at a time and as a matrix that is never stored."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_RAMP = 1e-300  # replaces a ramp of length zero: a quotient is then 0 or clamped to 1, never NaN
FEW_POINTS = 2048  # so few are not worth a table
CHUNK = 1 << 16  # points searched at a time, so that intermediate results stay in cache
CELLS_PER_VALUE = 8
FEWEST_CELLS, MOST_CELLS = 1 << 10, 1 << 18  # the table stays in cache, too
SMALLEST_RANGE, LARGEST_RANGE = 1e-200, 1e308


def step(difference: Tensor, delta: float) -> Tensor:
    """Return how far one example counts as ranked above another, given the difference of their logits.

    ``H(x) = clamp(x / (2 delta) + 1/2, 0, 1)`` for ``delta > 0`` and ``[x >= 0]`` for ``delta = 0``
    (BRS, ECCV 2024, Eq. 1 and 2; at zero the official code counts 1 where Eq. 1 says 0).

    Args:
        difference: logit of the first minus logit of the second, any shape.
        delta: half the length of the ramp, >= 0.

    Returns:
        Values in [0, 1], of the shape of ``difference``.
    """
    if delta == 0:
        return (difference >= 0).to(difference.dtype)
    return (difference / (2 * delta)).add_(0.5).clamp_(0, 1)


class Ramps:
    """The steps ``H(x - centres[i])`` as functions of x, in segments between the points where one begins or ends.

    Each is a ramp from 0 to 1 between ``centre - delta`` and ``centre + delta``. Between two successive ends of ramps
    every weighted sum of them is a straight line. All lengths are in units of ``2 delta`` and at most 1, so that no
    large terms cancel in running sums over the 2 P segments.

    A ramp shorter than the spacing of floating-point numbers cannot rise between its ends. A jump at its upper end
    makes up for the missing rise; at ``delta = 0`` the jump is the whole step. (For logits above about 1e15 this
    happens at any delta; ties between them then count 1, not 1/2.)

    Args:
        centres: float64 [P], ascending, P >= 1.
        delta: half the length of the ramp, >= 0.

    Attributes:
        ends: float64 [2P], all ends of ramps, ascending.
        lengths: float64 [2P + 1], of the segments between the ends and outside; 0 outside, where nothing rises.
        travelled: float64 [2P + 1], sum of the lengths before each segment.
        before: int64 [2P], the segments below the beginnings of the ramps, followed by those below their ends.
        jumps: float64 [P], the rise that each ramp still lacks at its end.
    """

    def __init__(self, centres: Tensor, delta: float) -> None:
        num_centres = len(centres)
        self._ramp = max(2 * delta, SMALLEST_RAMP)
        begins, ends = centres - delta, centres + delta
        inds = torch.arange(num_centres, device=centres.device)
        lower = torch.searchsorted(ends, begins).add_(inds)  # a beginning comes before an end tied with it
        upper = torch.searchsorted(begins, ends, right=True).add_(inds)
        self.before = torch.cat([lower, upper])
        self._starts = centres.new_empty(2 * num_centres + 1)  # of the segments
        self.ends = self._starts[1:].scatter_(0, self.before, torch.cat([begins, ends]))
        self._starts[0] = begins[0]
        self.lengths = self._starts.diff(append=self._starts[-1:]).div_(self._ramp).clamp_(max=1)
        self.travelled = self.lengths.cumsum(0).sub_(self.lengths)
        below, above = self.travelled[1:].index_select(0, self.before).view(2, num_centres)
        self.jumps: Tensor = 1 - (above - below)

    def locate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the segment of each point, int32 [N], and its offset in it, float64 [N], in ramps, <= 1."""
        segments = count_below(self.ends, points, or_equal=True)
        return segments, (points - self._starts.index_select(0, segments)).div_(self._ramp).clamp_(0, 1)

    def weigh(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return height and slope, float64 [2P + 1], of the weighted sum of ramps at the start of each segment."""
        slopes = torch.zeros_like(self.lengths)
        slopes[1:].scatter_(0, self.before, torch.cat([weights, -weights]))
        rises = slopes.cumsum_(0) * self.lengths
        upper = self.before[len(weights) :] + 1
        heights = rises.index_add(0, upper, self.jumps * weights).cumsum_(0).sub_(rises)
        return heights, slopes


class StepMatrix:
    """The matrix ``H(points[j] - centres[i])`` of shape [N, P], kept in O(N + P) memory.

    Both products are running sums over the ends of the ramps plus one look-up per point: O((N + P) log P) time.

    Args:
        points: float64 [N], any order.
        ramps: around the P centres.
    """

    def __init__(self, points: Tensor, ramps: Ramps) -> None:
        self._ramps = ramps
        self._segments, self._offsets = ramps.locate(points)

    def sum_over_points(self, weights: Tensor | None = None) -> Tensor:
        """Return ``sum_j weights[j] H(points[j] - centres[i])`` for weights [N] >= 0, or 1, as a tensor [P].

        This is the total weight above a centre, averaged over the centre's ramp.
        """
        ramps = self._ramps
        found = self._per_segment(weights)
        areas = self._per_segment(self._offsets if weights is None else weights * self._offsets)
        up_to = found.cumsum(0)
        above: Tensor = up_to[-1] - up_to  # in higher segments
        areas = areas.addcmul_(ramps.lengths, above).cumsum_(0)
        below_ramp, below_end = areas.index_select(0, ramps.before).view(2, -1).unbind()
        at_or_above_end = above.index_select(0, ramps.before[len(below_ramp) :])
        return (below_end - below_ramp).addcmul_(ramps.jumps, at_or_above_end).clamp_(min=0)

    def sum_over_centres(self, weights: Tensor) -> Tensor:
        """Return ``sum_i weights[i] H(points[j] - centres[i])`` for weights [P] >= 0 as a tensor [N]."""
        heights, slopes = self._ramps.weigh(weights)
        rises = slopes.index_select(0, self._segments).mul_(self._offsets)
        return rises.add_(heights.index_select(0, self._segments)).clamp_(min=0)  # rounding, where all ramps have ended

    def _per_segment(self, weights: Tensor | None) -> Tensor:
        sums: Tensor = torch.bincount(self._segments, weights, minlength=len(self._ramps.lengths))
        return sums.to(torch.float64)


def count_below(values: Tensor, points: Tensor, *, or_equal: bool = False) -> Tensor:
    """Count the values below each point, int32 [N]; with ``or_equal`` also those equal to it.

    Args:
        values: float64 [P], P >= 1, ascending, finite.
        points: float64 [N], finite or minus infinity, any order.
        or_equal: count values equal to the point, too.
    """
    if len(points) <= FEW_POINTS or points.device.type != "cpu":
        return torch.searchsorted(values, points, right=or_equal, out_int32=True)
    table = SearchTable(values)
    chunks = [table.count_below(chunk, or_equal) for chunk in points.split(CHUNK)]
    return torch.cat(chunks) if len(chunks) > 1 else chunks[0]


class SearchTable:
    """`torch.searchsorted` without mispredicted branches, in a tenth of its time on a CPU.

    A table over equal cells of the values' range gives the count before each cell; the few values in the cell are
    bisected, for all points at once. Values and points are mapped to cells by the same monotonic function, rounding
    included, so that the result is exact.
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
