"""What the losses see of a row of logits: its positives in order, and the negatives that matter."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Examples(NamedTuple):
    """Positives and negatives of one row, float64, detached.

    Where there is a ramp, logits are measured from the positive in the middle, so that no offset costs digits of it. A
    step compares and does not subtract.

    Args:
        positive_inds: int64 [P], places of the positives in ascending order of their logits (stable).
        positives: [P], their logits, ascending.
        quality: [P], their IoU in (0, 1].
        negative_inds: int64 [M], places of the negatives that are not below ``positives[0] - delta``; None where
            ``negatives`` are a whole row.
        negatives: [M], their logits; in a whole row, minus infinity where there is no negative.
    """

    positive_inds: Tensor
    positives: Tensor
    quality: Tensor
    negative_inds: Tensor | None
    negatives: Tensor


def split_examples(logits: Tensor, targets: Tensor, delta: float) -> Examples | None:
    """Part a row into positives and the negatives within their reach; None without a positive.

    A negative further below than delta is a false positive to none of them. Late in training that is nearly every one,
    and the few others are gathered; where most are in reach, that would cost more than it saves.

    Args:
        logits: [N], finite.
        targets: [N], 0 = negative, (0, 1] = IoU of a positive, -1 = ignored.
        delta: half the length of the step's ramp.
    """
    labelled_inds = targets.nonzero().squeeze(1)  # of positives and of what is ignored
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
    return Examples(
        positive_inds=positive_inds.index_select(0, order),
        positives=positives,
        quality=quality.index_select(0, order).double().clamp_(max=1),
        negative_inds=negative_inds,
        negatives=negatives,
    )
