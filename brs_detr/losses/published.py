"""RS Loss and BRS Loss as published, kept as baselines. `brs_detr.losses` gives the same numbers.

Both take one row of logits and compute in its dtype.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from brs_detr.losses.checks import check_delta, check_shapes, check_values
from brs_detr.losses.cpu.ranking import quotient_or_zero
from brs_detr.losses.cpu.steps import step
from brs_detr.losses.operator import attach
from brs_detr.losses.rank_sort import RankSortLossOutput

Terms = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def loop_rank_sort_loss(logits: Tensor, targets: Tensor, delta: float = 0.5) -> RankSortLossOutput:
    """Rank & Sort Loss, one positive at a time (RS Loss, ICCV 2021; BRS, ECCV 2024, Algorithm 1).

    O(P (P + N)) time, O(P + N) memory. Arguments, result and errors are those of `brs_detr.losses.rank_sort_loss`,
    but for one row [N] of logits.
    """
    return _losses(_loop, logits, targets, delta)


def matrix_bucketed_rank_sort_loss(logits: Tensor, targets: Tensor, delta: float = 0.5) -> RankSortLossOutput:
    """Bucketed Rank & Sort Loss: sort everything, then relate all pairs (BRS, ECCV 2024, Algorithm 2).

    O(N log N + P^2) time, O(N + P^2) memory: at most one matrix of P x (P + 1) numbers and one of as many booleans
    exist at a time, the minimum for this algorithm. Arguments, result and errors are those of
    `brs_detr.losses.bucketed_rank_sort_loss`, but for one row [N] of logits.
    """
    return _losses(_matrix, logits, targets, delta)


def _losses(terms: Terms, logits: Tensor, targets: Tensor, delta: float) -> RankSortLossOutput:
    check_delta(delta)
    check_shapes(logits, targets)
    if logits.dim() != 1:
        raise ValueError(f"logits must be one row, of shape [N], got {list(logits.shape)}")
    check_values(logits, targets)
    return RankSortLossOutput(*attach(logits, *terms(logits.detach(), targets.detach(), delta)))


def _loop(logits: Tensor, targets: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    """Return both losses [2] and their gradients [2, N]."""
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


def _matrix(logits: Tensor, targets: Tensor, delta: float) -> tuple[Tensor, Tensor]:
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
    """Return ``H(points[j] - centres[i])`` as a matrix [P, G], computed in place to save memory."""
    difference = points - centres[:, None]
    if delta == 0:
        return step(difference, delta)
    return difference.div_(2 * delta).add_(0.5).clamp_(0, 1)


def _sort(above: Tensor, num_above: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sorting errors [P] and their gradients [P]; ``above`` [P, P] is overwritten."""
    defect = 1 - quality
    defect_above = above @ defect
    above_and_worse = above.masked_fill_(quality >= quality[:, None], 0)
    num_worse = above_and_worse.sum(1)
    target_error = (defect_above - above_and_worse @ defect) / (num_above - num_worse)
    error = defect_above / num_above - target_error
    return error, quotient_or_zero(error, num_worse) @ above_and_worse - error
