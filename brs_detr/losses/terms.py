"""The operator behind every ranking loss: values and gradients of all rows, in one call."""

from __future__ import annotations

import torch
from torch import Tensor

from brs_detr.losses.checks import check_delta, check_shapes, check_values
from brs_detr.losses.examples import split_examples
from brs_detr.losses.identity_update import attach
from brs_detr.losses.negatives import BucketedNegatives, SingleNegatives
from brs_detr.losses.pairs import count_above
from brs_detr.losses.ranking import rank_positives
from brs_detr.losses.sorting import sort_positives
from brs_detr.losses.step import Ramps


def ranking_losses(
    logits: Tensor,
    targets: Tensor,
    delta: float,
    *,
    bucketed: bool = False,
    interpolated: bool = False,
    sorting: bool = False,
) -> tuple[Tensor, ...]:
    """Ranking loss and, with ``sorting``, sorting loss of each row: the means of their errors over its positives.

    Args:
        logits: [N] or [L, N].
        targets: [N] or [L, N]; [N] is shared by all rows.
        delta: half the length of the step's ramp, >= 0.
        bucketed: take the negatives between two positives as one.
        interpolated: see `brs_detr.losses.ranking.rank_positives`.
        sorting: whether to return the sorting loss too.

    Returns:
        One or two tensors, [] or [L], attached to the logits; float64 for float64 logits and float32 for all others.

    Raises:
        TypeError, ValueError: see `brs_detr.losses.checks`.
    """
    check_delta(delta)
    check_shapes(logits, targets)
    values, gradients = torch.ops.brs_detr.ranking_terms(
        logits.detach(), targets.detach(), delta, bucketed, interpolated, sorting
    )
    return attach(logits, values, gradients)


@torch.library.custom_op("brs_detr::ranking_terms", mutates_args=())
def _ranking_terms(
    logits: Tensor, targets: Tensor, delta: float, bucketed: bool, interpolated: bool, sorting: bool
) -> tuple[Tensor, Tensor]:
    """Values [T, ...] and gradients [T, ..., N] of the T terms, row after row."""
    check_values(logits, targets)
    values, gradients = (tensor.zero_() for tensor in _empty_terms(logits, sorting))
    if not logits.numel():
        return values, gradients
    rows = logits.reshape(-1, logits.shape[-1])
    for row, row_targets, row_values, row_gradients in zip(
        rows,
        targets.expand_as(logits).reshape_as(rows),
        values.view(len(values), -1).unbind(1),
        gradients.view(len(gradients), *rows.shape).unbind(1),
        strict=True,
    ):
        _write_row_terms(row_values, row_gradients, row, row_targets, delta, bucketed, interpolated, sorting)
    return values, gradients


@_ranking_terms.register_fake
def _(
    logits: Tensor, targets: Tensor, delta: float, bucketed: bool, interpolated: bool, sorting: bool
) -> tuple[Tensor, Tensor]:
    return _empty_terms(logits, sorting)


def _empty_terms(logits: Tensor, sorting: bool) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    num_terms = 1 + sorting
    return (
        logits.new_empty(num_terms, *logits.shape[:-1], dtype=dtype),
        logits.new_empty(num_terms, *logits.shape, dtype=dtype),
    )


def _write_row_terms(
    values: Tensor,
    gradients: Tensor,
    logits: Tensor,
    targets: Tensor,
    delta: float,
    bucketed: bool,
    interpolated: bool,
    sorting: bool,
) -> None:
    """Write values [T] and gradients [T, N] of one row over the zeros in them."""
    examples = split_examples(logits, targets, delta)
    if examples is None:
        return
    positives, num_positives = examples.positives, len(examples.positives)
    ramps = Ramps(positives, delta)
    if sorting:
        num_above, sorting_error, sorting_gradient = sort_positives(positives, examples.quality, ramps, delta)
        values[1] = sorting_error.mean()
        _write(gradients[1], examples.positive_inds, sorting_gradient.div_(num_positives))
    else:
        num_above = count_above(positives, ramps, delta)
    if not len(examples.negatives):
        return
    negatives = (
        BucketedNegatives(examples.negatives, positives, ramps)
        if bucketed
        else SingleNegatives(examples.negatives, ramps)
    )
    ranking_error, on_negatives = rank_positives(negatives, num_above, delta, interpolated=interpolated)
    values[0] = ranking_error.mean()
    _write(gradients[0], examples.negative_inds, on_negatives.div_(num_positives))
    _write(gradients[0], examples.positive_inds, ranking_error.div_(-num_positives))


def _write(gradient: Tensor, inds: Tensor, values: Tensor) -> None:
    gradient.scatter_(0, inds, values.to(gradient.dtype))
