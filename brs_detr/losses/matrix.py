"""Bucketed Rank & Sort Loss as published: sort everything, then relate all pairs (BRS, ECCV 2024, Algorithm 2).

Kept to measure against. `brs_detr.losses.bucketed_rank_sort_loss` gives the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from brs_detr.losses.published import published_loss
from brs_detr.losses.rank_sort import RankSortLossOutput
from brs_detr.losses.ranking import quotient_or_zero
from brs_detr.losses.step import step


def matrix_bucketed_rank_sort_loss(logits: Tensor, targets: Tensor, delta: float = 0.5) -> RankSortLossOutput:
    """Bucketed Rank & Sort Loss with its matrices: O(N log N + P^2) time, O(N + P^2) memory, in the logits' dtype.

    One matrix of P x (P + 1) numbers and one of as many booleans are held at a time, which is the least that the
    algorithm can do with. Arguments, result and errors are those of `brs_detr.losses.bucketed_rank_sort_loss`, but for
    one row [N] of logits.
    """
    return published_loss(_terms, logits, targets, delta)


def _terms(logits: Tensor, targets: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    """Both losses [2] and their gradients [2, N]."""
    values, gradients = logits.new_zeros(2), logits.new_zeros(2, len(logits))
    positive_inds = targets.gt(0).nonzero().squeeze(1)
    num_positives = len(positive_inds)
    if not num_positives:
        return values, gradients
    in_reach = targets.eq(0) & (logits >= logits[positive_inds].min() - delta)
    inds = torch.cat([positive_inds, in_reach.nonzero().squeeze(1)])
    descending, order = logits[inds].sort(descending=True, stable=True)  # positives first among equals
    is_positive = order < num_positives
    bucket_inds = is_positive.cumsum(0)[~is_positive]
    positives, positive_inds = descending[is_positive], inds[order[is_positive]]
    quality = targets[positive_inds].to(logits.dtype).clamp(max=1)
    sizes = torch.bincount(bucket_inds, minlength=num_positives + 1).to(logits.dtype)  # [P + 1]
    means = torch.zeros_like(sizes).index_add_(0, bucket_inds, descending[~is_positive]) / sizes.clamp(min=1)

    above = _step_matrix(positives, positives, delta)  # [P, P]
    num_above = above.sum(1)
    sorting_error, sort_gradient = _sort(above, num_above, quality)
    del above
    false_positives = _step_matrix(means, positives, delta).mul_(sizes)  # [P, P + 1]
    num_false_positives = false_positives.sum(1)
    ranking_error = num_false_positives / (num_above + num_false_positives)
    shares = quotient_or_zero(ranking_error, num_false_positives)
    on_buckets = (shares @ false_positives) / sizes.clamp(min=1)

    gradients[0, inds[order[~is_positive]]] = on_buckets[bucket_inds]
    gradients[:, positive_inds] = torch.stack([-ranking_error, sort_gradient])
    values = torch.stack([ranking_error.sum(), sorting_error.sum()])
    return values / num_positives, gradients / num_positives


def _step_matrix(points: Tensor, centres: Tensor, delta: float) -> Tensor:
    """Return ``H(points[j] - centres[i])`` as a matrix [P, G], made in place: no second one of its size is held."""
    difference = points - centres[:, None]
    if delta == 0:
        return step(difference, delta)
    return difference.div_(2 * delta).add_(0.5).clamp_(0, 1)


def _sort(above: Tensor, num_above: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
    """Sorting errors [P] and gradients [P]; ``above`` [P, P] is used up."""
    defect = 1 - quality
    defect_above = above @ defect
    above_and_worse = above.masked_fill_(quality >= quality[:, None], 0)
    num_worse = above_and_worse.sum(1)
    target_error = (defect_above - above_and_worse @ defect) / (num_above - num_worse)
    error = defect_above / num_above - target_error
    return error, quotient_or_zero(error, num_worse) @ above_and_worse - error
