"""DR Loss: rank the expected score of positives above that of negatives."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from brs_detr.losses.checks import check_shapes, check_values


def dr_loss(
    logits: Tensor,
    targets: Tensor,
    margin: float = 0.5,
    positive_temperature: float = 1.0,
    negative_temperature: float = 0.1 / math.log(3.5),
    sharpness: float = 6.0,
) -> Tensor:
    """Distributional Ranking Loss (Qian et al., CVPR 2020), differentiated by autograd.

    With scores ``p = sigmoid(s)``, positives k and negatives j::

        p_positive = sum_k w_k p_k,  w = softmax(-p / positive_temperature)   (the worst positives count most)
        p_negative = sum_j w_j p_j,  w = softmax( p / negative_temperature)   (the hardest negatives count most)
        loss       = log(1 + exp(sharpness (p_negative - p_positive + margin))) / sharpness

    Without positives ``p_positive`` is 1, without negatives ``p_negative`` is 0.

    Args:
        logits: [N] or [L, N], any float dtype, finite.
        targets: [N] or [L, N], 0 = negative, (0, 1] = positive (the value is not used), -1 = ignored.
        margin: desired difference of ``p_positive`` and ``p_negative``.
        positive_temperature, negative_temperature: > 0.
        sharpness: > 0; the larger, the closer the loss is to a hinge.

    Returns:
        Loss > 0, scalar or [L].

    Raises:
        TypeError: the dtype of ``logits`` is not a float dtype.
        ValueError: shapes or devices do not agree, or a value is out of range.
    """
    check_shapes(logits, targets)
    check_values(logits, targets)
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
    is_positive, is_negative = targets > 0, targets == 0
    positive = _expected(scores, -scores / positive_temperature, is_positive, empty=1.0)
    negative = _expected(scores, scores / negative_temperature, is_negative, empty=0.0)
    loss: Tensor = softplus(sharpness * (negative - positive + margin)) / sharpness
    return loss


def _expected(scores: Tensor, preferences: Tensor, mask: Tensor, empty: float) -> Tensor:
    """Return the mean score in the mask, weighted by the softmax of the preferences; ``empty`` if there is none."""
    is_empty = ~mask.any(-1, keepdim=True)
    weights = preferences.masked_fill(~(mask | is_empty), -math.inf).softmax(-1)
    return torch.where(is_empty[..., 0], empty, (weights * scores).sum(-1))


class DRLoss(nn.Module):
    """Module form of `dr_loss`; its result is multiplied by ``loss_weight`` (tau in the paper, 4)."""

    def __init__(
        self,
        loss_weight: float = 4.0,
        margin: float = 0.5,
        positive_temperature: float = 1.0,
        negative_temperature: float = 0.1 / math.log(3.5),
        sharpness: float = 6.0,
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.margin = margin
        self.positive_temperature = positive_temperature
        self.negative_temperature = negative_temperature
        self.sharpness = sharpness

    def forward(self, logits: Tensor, targets: Tensor, *, max_positives: int | None = None) -> Tensor:
        """Return the weighted loss of logits and targets, [N] or [L, N]; ``max_positives`` is ignored."""
        return self.loss_weight * dr_loss(
            logits, targets, self.margin, self.positive_temperature, self.negative_temperature, self.sharpness
        )

    def extra_repr(self) -> str:
        """Show the stored arguments."""
        return f"loss_weight={self.loss_weight}, margin={self.margin}, sharpness={self.sharpness}"
