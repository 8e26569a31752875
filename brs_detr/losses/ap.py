"""AP Loss and Bucketed AP Loss."""

from __future__ import annotations

from torch import Tensor, nn

from brs_detr.losses.checks import check_delta
from brs_detr.losses.operator import ranking_losses


def ap_loss(
    logits: Tensor,
    targets: Tensor,
    delta: float = 1.0,
    *,
    interpolated: bool = False,
    max_positives: int | None = None,
) -> Tensor:
    """AP Loss, one minus average precision (Chen et al., CVPR 2019), exact at every delta.

    The mean ranking error of the positives. For positive i, negatives j and positives k, with the step
    ``H(x) = clamp(x / (2 delta) + 1/2, 0, 1)``, or ``[x >= 0]`` at ``delta = 0``::

        num_false_positives(i) = sum_j H(s_j - s_i)
        rank(i)                = sum_k H(s_k - s_i) + num_false_positives(i)
        loss                   = mean_i num_false_positives(i) / rank(i)

    The gradient of positive i is minus its error; the negatives above it share the same amount, in proportion to their
    steps. Each row of logits is ranked on its own, in O((N + P) log P) time and O(N) memory for P positives.

    Args:
        logits: [N] or [L, N], any float dtype, finite.
        targets: [N] or [L, N], 0 = negative, (0, 1] = positive (the value is not used), -1 = ignored; [N] is shared by
            all rows.
        delta: half the length of the step's ramp, in logits, >= 0.
        interpolated: use the running maximum of precision and count a positive as 1 in its own rank, as the AP Loss of
            the official code does; otherwise plain AP, the ranking part of RS Loss.
        max_positives: upper bound on the positives per row, >= 1; default N. It is the size of the buffers on a CUDA
            device, so a tight bound saves memory and time there.

    Returns:
        Differentiable loss in [0, 1], scalar or [L]; 0 with zero gradient where a row has no positive or no negative.

    Raises:
        TypeError: the dtype of ``logits`` is not a float dtype.
        ValueError: shapes or devices do not agree, or a value is out of range.
    """
    return ranking_losses(logits, targets, delta, max_positives, interpolated=interpolated)[0]


def bucketed_ap_loss(
    logits: Tensor, targets: Tensor, delta: float = 1.0, *, max_positives: int | None = None
) -> Tensor:
    """Bucketed AP Loss (BRS, ECCV 2024, Eq. 13): the negatives between two positives share one step, at their mean.

    Equals `ap_loss` at ``delta = 0`` (Theorem 4.1) except for ties: a negative tied with a positive counts as below it
    if it shares its bucket with lower negatives. Arguments, result and errors are those of `ap_loss`.
    """
    return ranking_losses(logits, targets, delta, max_positives, bucketed=True)[0]


class APLoss(nn.Module):
    """Module form of `ap_loss`; its result is multiplied by ``loss_weight``."""

    def __init__(self, delta: float = 1.0, loss_weight: float = 1.0, interpolated: bool = False) -> None:
        super().__init__()
        check_delta(delta)
        self.delta = delta
        self.loss_weight = loss_weight
        self.interpolated = interpolated

    def forward(self, logits: Tensor, targets: Tensor, *, max_positives: int | None = None) -> Tensor:
        """Return the weighted loss of logits and targets, [N] or [L, N]."""
        loss = ap_loss(logits, targets, self.delta, interpolated=self.interpolated, max_positives=max_positives)
        return self.loss_weight * loss

    def extra_repr(self) -> str:
        """Show the stored arguments."""
        return f"delta={self.delta}, loss_weight={self.loss_weight}, interpolated={self.interpolated}"


class BucketedAPLoss(nn.Module):
    """Module form of `bucketed_ap_loss`; its result is multiplied by ``loss_weight``."""

    def __init__(self, delta: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_delta(delta)
        self.delta = delta
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, targets: Tensor, *, max_positives: int | None = None) -> Tensor:
        """Return the weighted loss of logits and targets, [N] or [L, N]."""
        return self.loss_weight * bucketed_ap_loss(logits, targets, self.delta, max_positives=max_positives)

    def extra_repr(self) -> str:
        """Show the stored arguments."""
        return f"delta={self.delta}, loss_weight={self.loss_weight}"
