"""Rank & Sort Loss as first published: one positive after the other (RS Loss, ICCV 2021; BRS, ECCV 2024, Algorithm 1).

Kept to measure against. `brs_detr.losses.rank_sort_loss` gives the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from brs_detr.losses.published import published_loss
from brs_detr.losses.rank_sort import RankSortLossOutput
from brs_detr.losses.step import step


def loop_rank_sort_loss(logits: Tensor, targets: Tensor, delta: float = 0.5) -> RankSortLossOutput:
    """Rank & Sort Loss in O(P (P + N)) time and O(P + N) memory, in the dtype of the logits.

    Arguments, result and errors are those of `brs_detr.losses.rank_sort_loss`, but for one row [N] of logits.
    """
    return published_loss(_terms, logits, targets, delta)


def _terms(logits: Tensor, targets: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    """Both losses [2] and their gradients [2, N]."""
    values, gradients = logits.new_zeros(2), logits.new_zeros(2, len(logits))
    positive_inds = targets.gt(0).nonzero().squeeze(1)
    if not len(positive_inds):
        return values, gradients
    positives, quality = logits[positive_inds], targets[positive_inds].to(logits.dtype).clamp(max=1)
    in_reach = targets.eq(0) & (logits >= positives.min() - delta)
    negative_inds = in_reach.nonzero().squeeze(1)
    negatives = logits[negative_inds]
    defect = 1 - quality
    on_negatives, on_positives, sort_gradient = (torch.zeros_like(x) for x in (negatives, positives, positives))
    for i in range(len(positives)):
        above = step(positives - positives[i], delta)  # [P]
        false_positives = step(negatives - positives[i], delta)  # [N]
        num_above, num_false_positives = above.sum(), false_positives.sum()
        ranking_error = num_false_positives / (num_above + num_false_positives)
        is_worse = quality < quality[i]
        above_and_better = above.masked_fill(is_worse, 0)
        target_error = (above_and_better * defect).sum() / above_and_better.sum()
        sorting_error = (above * defect).sum() / num_above - target_error
        values += torch.stack([ranking_error, sorting_error])
        if num_false_positives > 0:
            on_positives[i] -= ranking_error
            on_negatives += false_positives * (ranking_error / num_false_positives)
        above_and_worse = above - above_and_better
        num_worse = above_and_worse.sum()
        if num_worse > 0:
            sort_gradient[i] -= sorting_error
            sort_gradient += above_and_worse * (sorting_error / num_worse)
    gradients[0, negative_inds] = on_negatives
    gradients[:, positive_inds] = torch.stack([on_positives, sort_gradient])
    return values / len(positives), gradients / len(positives)
