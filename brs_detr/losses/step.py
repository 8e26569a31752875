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
        ends: float64 [2P], all ends of ramps, ascending.
        lengths: float64 [2P + 1], of the segments between the ends and outside; 0 outside, where nothing rises.
        travelled: float64 [2P + 1], sum of the lengths before each segment.
        before: int64 [2P], the segment below the beginning of each ramp and, after these, below the end of each.
        jumps: float64 [P], what each ramp still lacks at its end.
    """

    def __init__(self, centres: Tensor, delta: float) -> None:
        num_centres = len(centres)
        self._ramp = max(2 * delta, SMALLEST_RAMP)
        begins, ends = centres - delta, centres + delta
        places = torch.arange(num_centres, device=centres.device)
        lower = torch.searchsorted(ends, begins).add_(places)  # a beginning comes before an end tied with it
        upper = torch.searchsorted(begins, ends, right=True).add_(places)
        self.before = torch.cat([lower, upper])
        self._marks = centres.new_empty(2 * num_centres + 1)  # where each segment begins
        self.ends = self._marks[1:].scatter_(0, self.before, torch.cat([begins, ends]))
        self._marks[0] = begins[0]
        self.lengths = self._marks.diff(append=self._marks[-1:]).div_(self._ramp).clamp_(max=1)
        self.travelled = self.lengths.cumsum(0).sub_(self.lengths)
        below, above = self.travelled[1:].index_select(0, self.before).view(2, num_centres)
        self.jumps: Tensor = 1 - (above - below)

    def locate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Find points, float64 [N].

        Returns:
            int32 [N], segment of each point: how many ends it has reached.
            float64 [N], its way into that segment, in ramps and at most 1.
        """
        segments = count_below(self.ends, points, or_equal=True)
        return segments, (points - self._marks.index_select(0, segments)).div_(self._ramp).clamp_(0, 1)

    def weigh(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Sum the ramps with weights [P]: height and slope, float64 [2P + 1], at the beginning of each segment."""
        slopes = torch.zeros_like(self.lengths)
        slopes[1:].scatter_(0, self.before, torch.cat([weights, -weights]))
        rises = slopes.cumsum_(0) * self.lengths
        upper = self.before[len(weights) :] + 1
        heights = rises.index_add(0, upper, self.jumps * weights).cumsum_(0).sub_(rises)
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
        return rises.add_(heights.index_select(0, self._segments)).clamp_(min=0)  # where all has risen and fallen

    def _per_segment(self, weights: Tensor | None) -> Tensor:
        """Sum weights [N], or count, by segment."""
        sums: Tensor = torch.bincount(self._segments, weights, minlength=len(self._ramps.lengths))
        return sums.to(torch.float64)
