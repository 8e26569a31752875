"""What the losses see of a row of logits: its positives in order, and the negatives that matter."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Examples(NamedTuple):
    """Positives and negatives of one row, float64, detached.

    Where there is a ramp, logits are measured from the positive in the middle, so that no offset costs digits of it. A
    step compares and does not subtract.

    Args:
        positive_inds: int64 [P], places of the positives in ascending order of their logits (stable).
        positives: [P], their logits, ascending.
        quality: [P], their IoU in (0, 1].
        negative_inds: int64 [M], places of the negatives that are not below ``positives[0] - delta``.
        negatives: [M], their logits.
    """

    positive_inds: Tensor
    positives: Tensor
    quality: Tensor
    negative_inds: Tensor
    negatives: Tensor


def split_examples(logits: Tensor, targets: Tensor, delta: float) -> Examples | None:
    """Part a row into positives and the negatives within their reach; None without a positive.

    A negative further below than delta is a false positive to none of them.

    Args:
        logits: [N], finite.
        targets: [N], 0 = negative, (0, 1] = IoU of a positive, -1 = ignored.
        delta: half the length of the step's ramp.
    """
    positive_inds = targets.gt(0).nonzero().squeeze(1)
    if not len(positive_inds):
        return None
    logits = logits.double()
    positives, order = logits.index_select(0, positive_inds).sort(stable=True)
    positive_inds = positive_inds.index_select(0, order)
    is_negative = targets.eq(0).logical_and_(logits >= positives[0].item() - delta)
    negative_inds = is_negative.nonzero().squeeze(1)
    negatives = logits.index_select(0, negative_inds)
    if delta > 0:
        middle = positives[len(positives) // 2].item()
        positives -= middle
        negatives -= middle
    return Examples(
        positive_inds=positive_inds,
        positives=positives,
        quality=targets.index_select(0, positive_inds).double().clamp_(max=1),
        negative_inds=negative_inds,
        negatives=negatives,
    )
