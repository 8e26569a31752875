"""The sorting error of the RS losses."""

from __future__ import annotations

import torch
from torch import Tensor

from brs_detr.losses.examples import Examples
from brs_detr.losses.identity_update import Term
from brs_detr.losses.step import step

TILE_ENTRIES = 1 << 21  # pairs of positives held at a time: 16 MiB


def sorting_term(examples: Examples, delta: float) -> Term:
    """How much worse a positive and those above it are localised than they would be in the order of their IoU.

    ``error(i)`` is the mean of ``1 - quality`` over the positives ranked above i, less the same mean over those of them
    with at least the quality of i (RS Loss, ICCV 2021)::

        current(i) = sum_j H(s_j - s_i) (1 - q_j) / sum_j H(s_j - s_i)      over all positives j
        target(i)  = the same quotient                                      over those with q_j >= q_i
        error(i)   = current(i) - target(i)

    By Identity Update i receives ``-error(i) / P``, and the same amount is handed, in proportion to their step, to the
    positives above it that are of lower quality.

    Pairs are visited in tiles: time O(P^2), memory O(P).

    Args:
        examples: with at least one positive.
        delta: half the length of the step's ramp.
    """
    positives, quality = examples.positives, examples.quality
    num_positives = positives.numel()
    total = positives.new_zeros(())
    gradient = torch.zeros_like(examples.logits)
    on_positives = torch.zeros_like(positives)
    rows = max(TILE_ENTRIES // num_positives, 1)
    for start in range(0, num_positives, rows):
        tile = slice(start, start + rows)
        error, handed_out = _sorting_errors(positives, quality, tile, delta)
        total += error.sum()
        on_positives += handed_out
        on_positives[tile] -= error
    gradient[examples.positive_inds] = on_positives / num_positives
    return Term(total / num_positives, gradient)


def _sorting_errors(positives: Tensor, quality: Tensor, tile: slice, delta: float) -> tuple[Tensor, Tensor]:
    """Errors [T] of the positives in the tile, and what they hand to every positive [P]."""
    defect = 1 - quality
    above = step(positives - positives[tile, None], delta)  # [T, P]
    above_and_worse = above.masked_fill(quality >= quality[tile, None], 0)  # [T, P]
    num_above, num_worse = above.sum(1), above_and_worse.sum(1)
    defect_above, defect_worse = above @ defect, above_and_worse @ defect
    target = (defect_above - defect_worse) / (num_above - num_worse)
    error = (defect_above / num_above - target).clamp_(min=0)
    shares = torch.where(num_worse > 0, error / num_worse, 0)
    return error, shares @ above_and_worse
