"""aLRP Loss: one ranking for classification and localisation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from brs_detr.losses.checks import check_delta, check_shapes, check_values
from brs_detr.losses.cpu.ranking import Negatives, quotient_or_zero
from brs_detr.losses.cpu.sorting import count_above
from brs_detr.losses.cpu.steps import Ramps, StepMatrix
from brs_detr.losses.operator import attach

FIRST_BALANCE = 50.0


class ALRPLossOutput(NamedTuple):
    """Two scalars, each with its own gradient."""

    classification: Tensor
    localisation: Tensor


def alrp_loss(logits: Tensor, targets: Tensor, box_losses: Tensor, delta: float = 1.0) -> ALRPLossOutput:
    """Average Localisation-Recall-Precision Loss (Oksuz et al., NeurIPS 2020), exact at every delta.

    For positive i with box loss r, negatives j and other positives k::

        num_false_positives(i) = sum_j H(s_j - s_i)
        rank(i)                = 1 + sum_{k != i} H(s_k - s_i) + num_false_positives(i)
        classification         = mean_i num_false_positives(i) / rank(i)
        localisation           = mean_i sum_{k: s_k >= s_i} r(k) / rank(i)

    The gradient of a positive below some negative is
    ``-(num_false_positives(i) + sum_{k != i} H(s_k - s_i) r(k)) / rank(i)``; the negatives above it share the same
    amount, in proportion to their steps. The localisation term is differentiable by the box losses only. Takes
    O((P + N) log P) time and synchronises with a CUDA device.

    Args:
        logits: [N], any float dtype, finite.
        targets: [N], 0 = negative, (0, 1] = positive (the value is not used), -1 = ignored.
        box_losses: [P] >= 0, box loss of each positive, in the order of ``targets``.
        delta: half the length of the step's ramp, in logits, >= 0.

    Returns:
        Two scalars, 0 if there is no positive.

    Raises:
        TypeError: the dtype of ``logits`` is not a float dtype.
        ValueError: shapes or devices do not agree, or a value is out of range.
    """
    check_delta(delta)
    check_shapes(logits, targets)
    check_values(logits, targets)
    if logits.dim() != 1:
        raise ValueError(f"aLRP Loss takes logits of shape [N], got {list(logits.shape)}")
    positive_inds, negative_inds = (targets > 0).nonzero()[:, 0], (targets == 0).nonzero()[:, 0]
    if box_losses.shape != positive_inds.shape:
        raise ValueError(f"box_losses must be of shape [{len(positive_inds)}], got {list(box_losses.shape)}")
    if not len(positive_inds):
        return ALRPLossOutput(0 * logits.sum(), 0 * box_losses.sum())
    positives, order = logits.detach().double()[positive_inds].sort(stable=True)
    negatives = logits.detach().double()[negative_inds]
    sorted_box_losses = box_losses[order]  # in the order of positives
    gradients = logits.new_zeros(len(logits), dtype=torch.float64)
    value, rank, on_positives, on_negatives = _rank(positives, negatives, sorted_box_losses.detach().double(), delta)
    gradients[positive_inds[order]] = on_positives
    gradients[negative_inds] = on_negatives
    (classification,) = attach(logits, value.to(logits.dtype)[None], gradients[None])
    up_to = sorted_box_losses.flip(0).cumsum(0)  # [P], sums over all positives that rank as high or higher
    localisation = (up_to / rank.flip(0).to(up_to.dtype)).mean()
    return ALRPLossOutput(classification, localisation)


def _rank(
    positives: Tensor, negatives: Tensor, box_losses: Tensor, delta: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the classification term, ranks [P], and the term's gradients [P] and [M]; positives are ascending."""
    ramps = Ramps(positives, delta)
    own_step = 0.5 if delta > 0 else 1.0
    related = Negatives(negatives, ramps)
    num_false_positives = related.count_above()
    rank = count_above(positives, ramps, delta) + (1 - own_step) + num_false_positives
    others = StepMatrix(positives, ramps).sum_over_points(box_losses) - own_step * box_losses
    error = (others.clamp(min=0) + num_false_positives) / rank
    error = error.masked_fill(num_false_positives == 0, 0) / len(positives)
    on_negatives = related.share_out(quotient_or_zero(error, num_false_positives))
    return (num_false_positives / rank).mean(), rank, -error, on_negatives


class ALRPLoss(nn.Module):
    """Module form of `alrp_loss` with self-balancing (Oksuz et al., section 4.3).

    The localisation term is multiplied by ``(mean localisation + mean classification) / mean localisation``, measured
    over the previous period; in the first period by 50.

    Args:
        delta: half the length of the step's ramp, in logits, >= 0.
        loss_weight: factor of both terms.
        period: iterations; the default is one epoch of COCO at batch size 16.
    """

    balance: Tensor
    sums: Tensor

    def __init__(self, delta: float = 1.0, loss_weight: float = 1.0, period: int = 7330) -> None:
        super().__init__()
        check_delta(delta)
        self.delta = delta
        self.loss_weight = loss_weight
        self.period = period
        self.register_buffer("balance", torch.tensor(FIRST_BALANCE))
        self.register_buffer("sums", torch.zeros(3, dtype=torch.float64))  # of both terms, and their number

    def forward(self, logits: Tensor, targets: Tensor, box_losses: Tensor) -> ALRPLossOutput:
        """Return the weighted terms of logits and targets [N] and box losses [P]."""
        loss = alrp_loss(logits, targets, box_losses, self.delta)
        balance = self.balance.to(loss.localisation.dtype, copy=True)  # the buffer may change before backward
        balanced = self.loss_weight * balance * loss.localisation
        if self.training:
            self._remember(loss)
        return ALRPLossOutput(self.loss_weight * loss.classification, balanced)

    @torch.no_grad()
    def _remember(self, loss: ALRPLossOutput) -> None:
        has_positives = (loss.localisation > 0).double()
        terms = torch.stack([loss.classification.double(), loss.localisation.double(), has_positives])
        self.sums += torch.where(has_positives > 0, terms, 0)  # skips NaN, too
        is_over = self.sums[2] >= self.period
        balance = (self.sums[0] + self.sums[1]) / self.sums[1]
        self.balance.copy_(torch.where(is_over, balance, self.balance))
        self.sums.masked_fill_(is_over, 0)

    def extra_repr(self) -> str:
        """Show the stored arguments."""
        return f"delta={self.delta}, loss_weight={self.loss_weight}, period={self.period}"
