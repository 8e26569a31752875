"""The sorting error of the RS losses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from brs_detr.losses.dominance import sum_over_above_and_worse
from brs_detr.losses.pairs import MOST_IN_TILES, step_tiles
from brs_detr.losses.ranking import quotient_or_zero
from brs_detr.losses.step import Ramps, StepMatrix


class Sorting(NamedTuple):
    """What sorting the P positives gives, each float64 [P].

    Args:
        num_above: ``sum_j H(s_j - s_i)``, i included.
        error: sorting error.
        gradient: of the sum of the errors.
    """

    num_above: Tensor
    error: Tensor
    gradient: Tensor


def sort_positives(positives: Tensor, quality: Tensor, ramps: Ramps, delta: float) -> Sorting:
    """How much worse a positive and those above it are localised than they would be in the order of their IoU.

    ``error(i)`` is the mean of ``1 - quality`` over the positives ranked above i, less the same mean over those of them
    with at least the quality of i (RS Loss, ICCV 2021)::

        current(i) = sum_j H(s_j - s_i) (1 - q_j) / sum_j H(s_j - s_i)      over all positives j
        target(i)  = the same quotient                                      over those with q_j >= q_i
        error(i)   = current(i) - target(i)

    By Identity Update i receives ``-error(i)``, and the same amount is handed, in proportion to their step, to the
    positives above it that are of lower quality.

    Few positives are compared pair by pair, in tiles; many in O(P log P) time. Memory is O(P) either way.

    Args:
        positives: float64 [P], logits, ascending, P >= 1.
        quality: float64 [P], their IoU.
        ramps: around the logits of the positives.
        delta: half the length of the step's ramp.
    """
    if len(positives) <= MOST_IN_TILES:
        return _sort_in_tiles(positives, quality, delta)
    return _sort_by_passes(positives, quality, ramps, delta)


def _sort_in_tiles(positives: Tensor, quality: Tensor, delta: float) -> Sorting:
    defect = 1 - quality
    num_above, errors, gradient = positives.new_zeros(3, len(positives))
    for rows, first, tile in step_tiles(positives, delta):
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
    shares.clamp_(max=2)  # they are, but for rounding: error <= num_worse / num_above, and num_above >= 1 / 2
    # Seen from above, in the mirror, those that hand out are above and worse than those that receive.
    mirrored = -positives.flip(0)
    (received,) = sum_over_above_and_worse(
        mirrored, -quality.flip(0), shares.flip(0)[None], Ramps(mirrored, delta), delta
    ).flip(1)
    return Sorting(num_above, error, received - error)


def _errors(num_above: Tensor, num_worse: Tensor, defect_above: Tensor, defect_worse: Tensor) -> tuple[Tensor, Tensor]:
    """Errors, and shares for those above and worse, from the number and the defect [T] of all above and of those."""
    target = (defect_above - defect_worse).div_(num_above - num_worse)
    error = (defect_above / num_above).sub_(target).clamp_(min=0)
    return error, quotient_or_zero(error, num_worse)
