"""Values and gradients of rows in plain PyTorch, one row after the other, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from brs_detr.losses.checks import check_positives, check_values
from brs_detr.losses.examples import split_examples
from brs_detr.losses.negatives import BucketedNegatives, Negatives, SingleNegatives
from brs_detr.losses.pairs import count_above
from brs_detr.losses.ranking import rank_positives
from brs_detr.losses.sorting import sort_positives
from brs_detr.losses.step import Ramps
from brs_detr.losses.variant import Variant


@torch.inference_mode()
def write_torch_terms(logits: Tensor, targets: Tensor, variant: Variant, values: Tensor, gradients: Tensor) -> None:
    """Write the terms of L rows.

    Args:
        logits: [L, N], any float dtype.
        targets: [L, N], any float dtype.
        variant: of the loss.
        values: [T, L], float32 or float64.
        gradients: [T, L, N], likewise.

    Raises:
        ValueError: see `brs_detr.losses.checks`.
    """
    check_values(logits, targets)
    values.zero_()
    gradients.zero_()
    for row, (row_logits, row_targets) in enumerate(zip(logits, targets, strict=True)):
        _write_row(row_logits, row_targets, variant, values[:, row], gradients[:, row])


def _write_row(logits: Tensor, targets: Tensor, variant: Variant, values: Tensor, gradients: Tensor) -> None:
    examples = split_examples(logits, targets, variant.delta)
    if examples is None:
        return
    positives, num_positives = examples.positives, len(examples.positives)
    check_positives(num_positives, variant.max_positives)
    ramps = Ramps(positives, variant.delta)
    sorting = sort_positives(positives, examples.quality, ramps, variant.delta) if variant.sorting else None
    negatives: Negatives = (
        BucketedNegatives(examples.negatives, positives, ramps, variant.delta)
        if variant.bucketed
        else SingleNegatives(examples.negatives, ramps)
    )
    ranking_error, on_negatives = rank_positives(
        negatives,
        count_above(positives, ramps, variant.delta) if sorting is None else sorting.num_above,
        variant.delta,
        interpolated=variant.interpolated,
    )
    errors, on_positives = [ranking_error], [-ranking_error]
    if sorting is not None:
        errors.append(sorting.error)
        on_positives.append(sorting.gradient)
    values.copy_(torch.stack(errors).mean(1))
    if examples.negative_inds is None:
        gradients[0].copy_(on_negatives)
    else:
        gradients[0].scatter_(0, examples.negative_inds, on_negatives.to(gradients.dtype))
    gradients.scatter_(
        1,
        examples.positive_inds.expand(len(errors), -1),
        torch.stack(on_positives).div_(num_positives).to(gradients.dtype),
    )
