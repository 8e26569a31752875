"""The step function of the ranking losses, one pair at a time and as a matrix that is never stored."""

from __future__ import annotations

import torch
from torch import Tensor

from brs_detr.losses.search import count_below

SMALLEST_RAMP = 1e-300  # stands in for a ramp of length zero, so that a quotient is 0 or clamped to 1, never NaN


def step(difference: Tensor, delta: float) -> Tensor:
    """How much an example counts as ranked above another, by their difference in logits.

    ``H(x) = clamp(x / (2 delta) + 1/2, 0, 1)`` for ``delta > 0`` and ``[x >= 0]`` for ``delta = 0``
    (BRS, ECCV 2024, Eq. 1 and 2; at zero the official code counts 1 where Eq. 1 says 0).

    Args:
        difference: logit of the one minus logit of the other, any shape.
        delta: half the length of the ramp, >= 0.

    Returns:
        Values in [0, 1], of the shape of ``difference``.
    """
    if delta == 0:
        return (difference >= 0).to(difference.dtype)
    return (difference / (2 * delta)).add_(0.5).clamp_(0, 1)


class Ramps:
    """The steps ``H(x - centres[i])`` as functions of x, cut where one of them begins or ends.

    Each is a ramp from 0 to 1 between ``centre - delta`` and ``centre + delta``. Between two successive ends of ramps
    every weighted sum of them is a straight line. All lengths are in units of ``2 delta`` and at most 1, which keeps
    running sums over the 2 P segments free of large terms that cancel.

    A ramp shorter than the spacing of floating-point numbers has no room to rise between its ends. What it misses it
    makes up for by a jump at its upper end; at ``delta = 0`` that is all there is, and the jump is the step itself.
    (Logits above 1e15 or so meet that at any delta; a tie between them then counts 1, not 1/2.)

    Args:
        centres: float64 [P], ascending, P >= 1.
        delta: half the length of the ramp, >= 0.

    Attributes:
        lower, upper: int64 [P], places of the ends of each ramp among the 2 P ends in ascending order.
        lengths: float64 [2P], of the segment that begins at each end; that of the last one is 0.
        travelled: float64 [2P], sum of the lengths up to each end.
        jumps: float64 [P], what each ramp still lacks at its upper end.
    """

    def __init__(self, centres: Tensor, delta: float) -> None:
        self._ramp = max(2 * delta, SMALLEST_RAMP)
        begins, ends = centres - delta, centres + delta
        count = torch.arange(len(centres), device=centres.device)
        self.lower = count + torch.searchsorted(ends, begins)  # a beginning comes before an end tied with it
        self.upper = count + torch.searchsorted(begins, ends, right=True)
        self._places = torch.stack([self.lower, self.upper])
        self._ends = centres.new_empty(2 * len(centres))
        self._ends[self._places] = torch.stack([begins, ends])
        self.lengths = torch.zeros_like(self._ends)
        torch.sub(self._ends[1:], self._ends[:-1], out=self.lengths[:-1])
        self.lengths.div_(self._ramp).clamp_(max=1)
        self.travelled = self.lengths.cumsum(0).sub_(self.lengths)
        lower, upper = self.travelled[self._places]
        self.jumps: Tensor = 1 - (upper - lower)

    def locate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Find points, float64 [N].

        Returns:
            int32 [N], how many ends each point has reached: 0 below every ramp, k in the segment k - 1.
            float64 [N], its way into that segment.
        """
        segments = count_below(self._ends, points, or_equal=True)
        begins = torch.cat([self._ends[:1], self._ends])
        return segments, (points - begins.index_select(0, segments)).div_(self._ramp).clamp_(0, 1)

    def weigh(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Sum the ramps with weights [P]: height and slope, float64 [2P + 1], at the beginning of each segment."""
        slopes = weights.new_zeros(len(self.lengths) + 1)
        slopes[1:][self._places] = torch.stack([weights, -weights])
        slopes = slopes.cumsum_(0)
        rises = torch.zeros_like(slopes)
        torch.mul(slopes[1:-1], self.lengths[:-1], out=rises[2:])
        heights = rises.index_add_(0, self.upper + 1, self.jumps * weights).cumsum_(0)
        return heights, slopes


class StepMatrix:
    """The matrix ``H(points[j] - centres[i])`` of shape [N, P], kept in O(N + P) memory.

    Both products below are running sums over the ends of the ramps, plus one look-up a point: O((N + P) log P) time.

    Args:
        points: float64 [N], any order.
        ramps: around the P centres.
    """

    def __init__(self, points: Tensor, ramps: Ramps) -> None:
        self._ramps = ramps
        self._segments, self._offsets = ramps.locate(points)

    def sum_over_points(self, weights: Tensor | None = None) -> Tensor:
        """Return ``sum_j weights[j] H(points[j] - centres[i])`` for weights [N] >= 0, or 1, as a tensor [P].

        It is the mean, over the ramp of the centre, of the weight found above each place of the ramp.
        """
        ramps, offsets = self._ramps, self._offsets if weights is None else weights * self._offsets
        found, areas = self._per_segment(weights), self._per_segment(offsets)
        at_or_above = _sum_from_the_top(found)  # [2P]
        areas = areas.addcmul_(ramps.lengths, at_or_above - found)
        areas = _sum_from_the_top(areas)
        sums = areas[ramps.lower] - areas[ramps.upper] + ramps.jumps * at_or_above[ramps.upper]
        return sums.clamp_(min=0)  # running sums made in parallel need not be monotone

    def sum_over_centres(self, weights: Tensor) -> Tensor:
        """Return ``sum_i weights[i] H(points[j] - centres[i])`` for weights [P] >= 0 as a tensor [N]."""
        heights, slopes = self._ramps.weigh(weights)
        rises = slopes.index_select(0, self._segments).mul_(self._offsets)
        return rises.add_(heights.index_select(0, self._segments)).clamp_(min=0)

    def _per_segment(self, weights: Tensor | None) -> Tensor:
        """Sum weights [N] by segment, without the points below every ramp."""
        sums: Tensor = torch.bincount(self._segments, weights, minlength=len(self._ramps.lengths) + 1)
        return sums[1:].to(torch.float64)


def _sum_from_the_top(values: Tensor) -> Tensor:
    return values.flip(0).cumsum_(0).flip(0)
