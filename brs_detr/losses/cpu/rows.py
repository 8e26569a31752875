"""Values and gradients of rows of logits in plain PyTorch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from brs_detr.losses.checks import check_positives, check_values
from brs_detr.losses.cpu.ranking import BucketedNegatives, Negatives, rank_positives
from brs_detr.losses.cpu.sorting import count_above, sort_positives
from brs_detr.losses.cpu.steps import Ramps


class Row(NamedTuple):
    """Sorted positives and relevant negatives of one row of logits; float64, detached.

    With ``delta > 0`` logits are relative to the middle positive, so that a common offset costs no precision. With
    ``delta = 0`` they are only compared.

    Args:
        positive_inds: int64 [P], indices of the positives in ascending order of their logits (stable).
        positives: [P], their logits, ascending.
        quality: [P], their IoU in (0, 1].
        negative_inds: int64 [M], indices of the negatives not below ``positives[0] - delta``; None if ``negatives`` is
            a whole row.
        negatives: [M], their logits; in a whole row, minus infinity at all other examples.
    """

    positive_inds: Tensor
    positives: Tensor
    quality: Tensor
    negative_inds: Tensor | None
    negatives: Tensor


@torch.inference_mode()
def write_terms(
    logits: Tensor,
    targets: Tensor,
    values: Tensor,
    gradients: Tensor,
    *,
    delta: float,
    bucketed: bool,
    interpolated: bool,
    sorting: bool,
    max_positives: int,
) -> None:
    """Fill values [T, L] and gradients [T, L, N], float32 or float64, of logits and targets [L, N], any float dtype.

    The options are those of `brs_detr.losses.operator.ranking_losses`.

    Raises:
        ValueError: see `brs_detr.losses.checks`.
    """
    check_values(logits, targets)
    values.zero_()
    gradients.zero_()
    for row, (row_logits, row_targets) in enumerate(zip(logits, targets, strict=True)):
        split = split_row(row_logits, row_targets, delta)
        if split is None:
            continue
        check_positives(len(split.positives), max_positives)
        errors, on_positives, on_negatives = _errors_and_gradients(split, delta, bucketed, interpolated, sorting)
        values[:, row] = torch.stack(errors).mean(1)
        _fill(gradients[:, row], split, on_positives, on_negatives)


def split_row(logits: Tensor, targets: Tensor, delta: float) -> Row | None:
    """Split logits and targets [N] into positives and the negatives in their reach; None without a positive.

    A negative more than delta below the lowest positive is a false positive of none. Late in training nearly all are,
    and the few others are gathered. While most are in reach, gathering would cost more than it saves.
    """
    labelled_inds = targets.nonzero().squeeze(1)  # of positive and ignored examples
    if not len(labelled_inds):
        return None
    positive_inds, quality = labelled_inds, targets.index_select(0, labelled_inds)
    if quality.min() <= 0:
        is_positive = quality > 0
        positive_inds, quality = labelled_inds[is_positive], quality[is_positive]
        if not len(positive_inds):
            return None
    logits = logits.double()
    positives, order = logits.index_select(0, positive_inds).sort(stable=True)
    lowest = positives[0].item() - delta
    negatives, negative_inds = logits.index_fill(0, labelled_inds, -torch.inf), None
    in_reach = negatives >= lowest
    if 2 * torch.count_nonzero(in_reach).item() < len(logits):
        negative_inds = in_reach.nonzero().squeeze(1)
        negatives = negatives.index_select(0, negative_inds)
    if delta > 0:
        middle = positives[len(positives) // 2].item()
        positives -= middle
        negatives -= middle
    return Row(
        positive_inds=positive_inds.index_select(0, order),
        positives=positives,
        quality=quality.index_select(0, order).double().clamp_(max=1),
        negative_inds=negative_inds,
        negatives=negatives,
    )


def _errors_and_gradients(
    row: Row, delta: float, bucketed: bool, interpolated: bool, sorting: bool
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return the errors [P] of each term, their gradients by the positives [P], and those by the negatives [M]."""
    ramps = Ramps(row.positives, delta)
    sort = sort_positives(row.positives, row.quality, ramps, delta) if sorting else None
    if bucketed:
        negatives: Negatives = BucketedNegatives(row.negatives, row.positives, ramps, delta)
    else:
        negatives = Negatives(row.negatives, ramps)
    num_above = count_above(row.positives, ramps, delta) if sort is None else sort.num_above
    error, on_negatives = rank_positives(negatives, num_above, delta, interpolated=interpolated)
    if sort is None:
        return [error], [-error], on_negatives
    return [error, sort.error], [-error, sort.gradient], on_negatives


def _fill(gradients: Tensor, row: Row, on_positives: list[Tensor], on_negatives: Tensor) -> None:
    if row.negative_inds is None:
        gradients[0].copy_(on_negatives)
    else:
        gradients[0].scatter_(0, row.negative_inds, on_negatives.to(gradients.dtype))
    means = torch.stack(on_positives).div_(len(row.positives)).to(gradients.dtype)
    gradients.scatter_(1, row.positive_inds.expand(len(means), -1), means)
