"""Values and gradients of rows in plain PyTorch, one row after the other, in float64."""

from __future__ import annotations

from torch import Tensor

from brs_detr.losses.checks import check_values
from brs_detr.losses.examples import split_examples
from brs_detr.losses.negatives import BucketedNegatives, Negatives, SingleNegatives
from brs_detr.losses.pairs import count_above
from brs_detr.losses.ranking import rank_positives
from brs_detr.losses.sorting import sort_positives
from brs_detr.losses.step import Ramps
from brs_detr.losses.variant import Variant


def write_torch_terms(logits: Tensor, targets: Tensor, variant: Variant, values: Tensor, gradients: Tensor) -> None:
    """Write the terms of L rows.

    Args:
        logits: [L, N], any float dtype.
        targets: [L, N], any float dtype.
        variant: of the loss.
        values: [T, L], float32 or float64.
        gradients: [T, L, N], likewise.

    Raises:
        ValueError: see `brs_detr.losses.checks.check_values`.
    """
    check_values(logits, targets, variant.max_positives)
    values.zero_()
    gradients.zero_()
    for row, (row_logits, row_targets) in enumerate(zip(logits, targets, strict=True)):
        _write_row(row_logits, row_targets, variant, values[:, row], gradients[:, row])


def _write_row(logits: Tensor, targets: Tensor, variant: Variant, values: Tensor, gradients: Tensor) -> None:
    examples = split_examples(logits, targets, variant.delta)
    if examples is None:
        return
    positives, num_positives = examples.positives, len(examples.positives)
    ramps = Ramps(positives, variant.delta)
    if variant.sorting:
        num_above, sorting_error, sorting_gradient = sort_positives(positives, examples.quality, ramps, variant.delta)
        values[1] = sorting_error.mean()
        _write(gradients[1], examples.positive_inds, sorting_gradient.div_(num_positives))
    else:
        num_above = count_above(positives, ramps, variant.delta)
    if not len(examples.negatives):
        return
    negatives: Negatives = (
        BucketedNegatives(examples.negatives, positives, ramps)
        if variant.bucketed
        else SingleNegatives(examples.negatives, ramps)
    )
    ranking_error, on_negatives = rank_positives(negatives, num_above, variant.delta, interpolated=variant.interpolated)
    values[0] = ranking_error.mean()
    _write(gradients[0], examples.negative_inds, on_negatives)
    _write(gradients[0], examples.positive_inds, ranking_error.div_(-num_positives))


def _write(gradient: Tensor, inds: Tensor, values: Tensor) -> None:
    gradient.scatter_(0, inds, values.to(gradient.dtype))
