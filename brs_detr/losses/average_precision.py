"""AP Loss and Bucketed AP Loss."""

from __future__ import annotations

from torch import Tensor, nn

from brs_detr.losses.checks import check_delta
from brs_detr.losses.terms import ranking_losses


def ap_loss(logits: Tensor, targets: Tensor, delta: float = 1.0, *, interpolated: bool = False) -> Tensor:
    """AP Loss, one minus average precision (Chen et al., CVPR 2019), exact at every delta.

    The mean over the positives of the ranking error, see `brs_detr.losses.ranking.ranking_term` for the equations.
    Needs O((N + P) log P) time and O(N) memory for P positives: see `brs_detr.losses.step.StepMatrix`.

    Args:
        logits: [N], any float dtype, finite.
        targets: [N], 0 = negative, (0, 1] = positive whatever the value, -1 = ignored.
        delta: half the length of the step's ramp, in logits, >= 0.
        interpolated: use the running maximum of precision and count a positive as 1 in its own rank, as the AP Loss of
            the official code does; otherwise plain AP, the ranking part of RS Loss.

    Returns:
        Scalar in [0, 1], attached to the logits; 0 with zero gradient where there is no positive or no negative.

    Raises:
        TypeError, ValueError: see `brs_detr.losses.examples.split_examples`.
    """
    return ranking_losses(logits, targets, delta, interpolated=interpolated)[0]


def bucketed_ap_loss(logits: Tensor, targets: Tensor, delta: float = 1.0) -> Tensor:
    """Bucketed AP Loss (BRS, ECCV 2024, Eq. 13): negatives between two positives enter as one, at their mean.

    Equals `ap_loss` at ``delta = 0`` (Theorem 4.1), unless a negative is tied with a positive and shares its bucket
    with lower negatives. Arguments, result and errors are those of `ap_loss`.
    """
    return ranking_losses(logits, targets, delta, bucketed=True)[0]


class APLoss(nn.Module):
    """Module form of `ap_loss`; its result is multiplied by ``loss_weight``."""

    def __init__(self, delta: float = 1.0, loss_weight: float = 1.0, interpolated: bool = False) -> None:
        super().__init__()
        check_delta(delta)
        self.delta = delta
        self.loss_weight = loss_weight
        self.interpolated = interpolated

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted loss of logits [N] and targets [N]."""
        return self.loss_weight * ap_loss(logits, targets, self.delta, interpolated=self.interpolated)

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

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted loss of logits [N] and targets [N]."""
        return self.loss_weight * bucketed_ap_loss(logits, targets, self.delta)

    def extra_repr(self) -> str:
        """Show the stored arguments."""
        return f"delta={self.delta}, loss_weight={self.loss_weight}"
