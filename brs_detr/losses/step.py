"""The step function of the ranking losses, one pair at a time and as a matrix that is never stored."""

from __future__ import annotations

import torch
from torch import Tensor

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
    return (difference / (2 * delta) + 0.5).clamp_(0, 1)


class StepMatrix:
    """The matrix ``H(points[j] - centres[i])`` of shape [N, P], kept in O(N + P) memory.

    Seen from a point that moves upwards, every column is a ramp from 0 to 1 between ``centre - delta`` and
    ``centre + delta``. Between two successive ends of ramps every weighted sum of columns is a straight line, so that
    both products below are running sums over the 2 P ends, plus one look-up a point. All lengths are in units of
    ``2 delta`` and at most 1, which keeps the running sums free of large terms that cancel.

    A ramp shorter than the spacing of floating-point numbers has no room to rise between its ends. What it misses it
    makes up for by a jump at its upper end; at ``delta = 0`` that is all there is, and the jump is the step itself.
    (Logits above 1e15 or so meet that at any delta; a tie between them then counts 1, not 1/2.)

    Args:
        points: float64 [N], any order.
        centres: float64 [P], any order, P >= 1.
        delta: half the length of the ramp, >= 0.
    """

    def __init__(self, points: Tensor, centres: Tensor, delta: float) -> None:
        ramp = max(2 * delta, SMALLEST_RAMP)
        ends, self._order = torch.cat([centres - delta, centres + delta]).sort(stable=True)  # [2P]
        self._lower, self._upper = self._order.argsort().chunk(2)  # [P] each, places among the sorted ends
        gaps = torch.cat([ends.diff(), ends.new_zeros(1)])
        self._lengths = (gaps / ramp).clamp_(max=1)  # [2P], of the segment that begins at each end
        travelled = self._lengths.cumsum(0) - self._lengths
        self._jumps = 1 - (travelled[self._upper] - travelled[self._lower])  # [P]
        self._segments = torch.searchsorted(ends, points, right=True)  # [N], 0 = below every ramp
        begins = torch.cat([ends[:1], ends])  # [2P + 1]
        self._offsets = ((points - begins[self._segments]) / ramp).clamp_(0, 1)  # [N], way into the segment

    def sum_over_points(self, weights: Tensor) -> Tensor:
        """Return ``sum_j weights[j] H(points[j] - centres[i])`` for weights [N] >= 0 as a tensor [P].

        It is the mean, over the ramp of the centre, of the weight found above each place of the ramp.
        """
        at_or_above = _sum_from_the_top(self._per_segment(weights))  # [2P]
        above = torch.cat([at_or_above[1:], at_or_above.new_zeros(1)])
        areas = self._per_segment(weights * self._offsets) + self._lengths * above
        areas = _sum_from_the_top(areas)
        sums = areas[self._lower] - areas[self._upper] + self._jumps * at_or_above[self._upper]
        return sums.clamp_(min=0)  # running sums made in parallel need not be monotone

    def sum_over_centres(self, weights: Tensor) -> Tensor:
        """Return ``sum_i weights[i] H(points[j] - centres[i])`` for weights [P] >= 0 as a tensor [N]."""
        slopes = torch.cat([weights, -weights])[self._order].cumsum(0)  # [2P]
        rises = (slopes * self._lengths).roll(1)  # the last segment has length 0
        heights = rises.index_add(0, self._upper, self._jumps * weights).cumsum(0)
        heights, slopes = _with_zero_first(heights), _with_zero_first(slopes)  # [2P + 1]
        return (heights[self._segments] + slopes[self._segments] * self._offsets).clamp_(min=0)

    def _per_segment(self, weights: Tensor) -> Tensor:
        sums = weights.new_zeros(self._order.numel() + 1).index_add_(0, self._segments, weights)
        return sums[1:]  # without the points below every ramp


def _sum_from_the_top(values: Tensor) -> Tensor:
    return values.flip(0).cumsum(0).flip(0)


def _with_zero_first(values: Tensor) -> Tensor:
    return torch.cat([values.new_zeros(1), values])
