"""aLRP Loss: one ranking for classification and localisation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from brs_detr.losses.checks import check_delta, check_shapes, check_values
from brs_detr.losses.cpu.ranking import SingleNegatives, quotient_or_zero
from brs_detr.losses.cpu.sorting import count_above
from brs_detr.losses.cpu.steps import Ramps, StepMatrix
from brs_detr.losses.operator import attach

FIRST_BALANCE = 50.0


class ALRPLossOutput(NamedTuple):
    """Scalars, each with a gradient of its own."""

    classification: Tensor
    localisation: Tensor


def alrp_loss(logits: Tensor, targets: Tensor, box_losses: Tensor, delta: float = 1.0) -> ALRPLossOutput:
    """Average Localisation-Recall-Precision Loss (Oksuz et al., NeurIPS 2020), exact at every delta.

    For positive i with box loss r, negatives j and other positives k::

        num_false_positives(i) = sum_j H(s_j - s_i)
        rank(i)                = 1 + sum_{k != i} H(s_k - s_i) + num_false_positives(i)
        classification         = mean_i num_false_positives(i) / rank(i)
        localisation           = mean_i sum_{k: s_k >= s_i} r(k) / rank(i)

    A positive below some negative receives ``-(num_false_positives(i) + sum_{k != i} H(s_k - s_i) r(k)) / rank(i)``,
    and the negatives above it the same amount in proportion to their step. The localisation term is differentiated by
    the box losses alone. Needs O((P + N) log P) time; reads counts back from a CUDA device.

    Args:
        logits: [N], any float dtype, finite.
        targets: [N], 0 = negative, (0, 1] = positive whatever the value, -1 = ignored.
        box_losses: [P] >= 0, of each positive in the order of ``targets``.
        delta: half the length of the step's ramp, in logits, >= 0.

    Returns:
        Two scalars, 0 where there is no positive.

    Raises:
        TypeError, ValueError: see `brs_detr.losses.checks`; ``box_losses`` is not of shape [P].
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
    sorted_box_losses = box_losses[order]  # as the positives, in ascending order of their logits
    gradients = logits.new_zeros(len(logits), dtype=torch.float64)
    value, rank, on_positives, on_negatives = _rank(positives, negatives, sorted_box_losses.detach().double(), delta)
    gradients[positive_inds[order]] = on_positives
    gradients[negative_inds] = on_negatives
    (classification,) = attach(logits, value.to(logits.dtype)[None], gradients[None])
    up_to = sorted_box_losses.flip(0).cumsum(0)  # [P], of all that rank as high or higher
    localisation = (up_to / rank.flip(0).to(up_to.dtype)).mean()
    return ALRPLossOutput(classification, localisation)


def _rank(
    positives: Tensor, negatives: Tensor, box_losses: Tensor, delta: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Classification term, rank [P], and the gradients [P] and [M] of that term; positives in ascending order."""
    ramps = Ramps(positives, delta)
    own_step = 0.5 if delta > 0 else 1.0
    singles = SingleNegatives(negatives, ramps)
    num_false_positives = singles.count_above()
    rank = count_above(positives, ramps, delta) + (1 - own_step) + num_false_positives
    others = StepMatrix(positives, ramps).sum_over_points(box_losses) - own_step * box_losses
    error = (others.clamp(min=0) + num_false_positives) / rank
    error = error.masked_fill(num_false_positives == 0, 0) / len(positives)
    collected = singles.collect(quotient_or_zero(error, num_false_positives))
    return (num_false_positives / rank).mean(), rank, -error, collected


class ALRPLoss(nn.Module):
    """Module form of `alrp_loss` with its self-balancing.

    The localisation term is multiplied by ``(mean localisation + mean classification) / mean localisation`` over the
    period before, and by 50 in the first (Oksuz et al., section 4.3).

    Args:
        delta: half the length of the step's ramp.
        loss_weight: of both terms.
        period: iterations; an epoch of COCO at batch 16.
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
        self.register_buffer("sums", torch.zeros(3, dtype=torch.float64))  # of both terms, and how many they are

    def forward(self, logits: Tensor, targets: Tensor, box_losses: Tensor) -> ALRPLossOutput:
        """Return the weighted terms of logits and targets [N] and box losses [P]."""
        loss = alrp_loss(logits, targets, box_losses, self.delta)
        balance = self.balance.to(loss.localisation.dtype, copy=True)  # what it is now: it may change before backward
        balanced = self.loss_weight * balance * loss.localisation
        if self.training:
            self._remember(loss)
        return ALRPLossOutput(self.loss_weight * loss.classification, balanced)

    @torch.no_grad()
    def _remember(self, loss: ALRPLossOutput) -> None:
        has_positives = (loss.localisation > 0).double()
        terms = torch.stack([loss.classification.double(), loss.localisation.double(), has_positives])
        self.sums += torch.where(has_positives > 0, terms, 0)  # NaN counts for nothing
        is_over = self.sums[2] >= self.period
        balance = (self.sums[0] + self.sums[1]) / self.sums[1]
        self.balance.copy_(torch.where(is_over, balance, self.balance))
        self.sums.masked_fill_(is_over, 0)

    def extra_repr(self) -> str:
        """Show the stored arguments."""
        return f"delta={self.delta}, loss_weight={self.loss_weight}, period={self.period}"
