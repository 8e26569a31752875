"""What the losses as published have in common: one row at a time, in the dtype of the logits."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from brs_detr.losses.checks import check_delta, check_shapes, check_values
from brs_detr.losses.identity_update import attach
from brs_detr.losses.rank_sort import RankSortLossOutput

Terms = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def published_loss(terms: Terms, logits: Tensor, targets: Tensor, delta: float) -> RankSortLossOutput:
    """Check the input, compute both terms and attach them to the logits.

    Args:
        terms: from detached logits, targets and delta, both losses [2] and their gradients [2, N].
        logits: [N], any float dtype, finite.
        targets: [N], see `brs_detr.losses.rank_sort_loss`.
        delta: half the length of the step's ramp, >= 0.

    Raises:
        TypeError, ValueError: see `brs_detr.losses.checks`; or there is more than one row.
    """
    check_delta(delta)
    check_shapes(logits, targets)
    if logits.dim() != 1:
        raise ValueError(f"logits must be one row, of shape [N], got {list(logits.shape)}")
    check_values(logits, targets)
    return RankSortLossOutput(*attach(logits, *terms(logits.detach(), targets.detach(), delta)))
