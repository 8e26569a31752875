"""DR Loss against its equations."""

from __future__ import annotations

import math

import pytest
import torch

from brs_detr.losses import DRLoss, dr_loss

HARD = 0.1 / math.log(3.5)


def test_equals_the_equations() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 50, generator=draw, dtype=torch.float64)
    targets = torch.where(torch.rand(50, generator=draw) < 0.2, 0.7, 0.0)
    targets[:5] = -1
    losses = dr_loss(logits, targets)
    for row, loss in zip(logits, losses, strict=True):
        positive, negative = row[targets > 0].sigmoid(), row[targets == 0].sigmoid()
        expected_positive = (torch.exp(-positive) * positive).sum() / torch.exp(-positive).sum()
        weights = torch.exp(negative / HARD)
        expected_negative = (weights * negative).sum() / weights.sum()
        difference = expected_negative - expected_positive + 0.5
        assert loss.item() == pytest.approx(math.log(1 + math.exp(6 * difference)) / 6, abs=1e-12)


@pytest.mark.parametrize(("targets", "difference"), [([0.0], 0.25 - 1), ([1.0], -0.25), ([-1.0], -1.0)])
def test_one_sided_input(targets: list[float], difference: float) -> None:
    logits = torch.tensor([math.log(1 / 3)], dtype=torch.float64, requires_grad=True)  # a score of 1/4
    loss = dr_loss(logits, torch.tensor(targets))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(6 * (difference + 0.5))) / 6)
    loss.backward()
    assert logits.grad.isfinite().all()


def test_gradient_and_weight() -> None:
    logits = torch.randn(12, dtype=torch.float64, requires_grad=True)
    targets = (torch.arange(12) < 3).double()
    assert torch.autograd.gradcheck(lambda x: dr_loss(x, targets), logits)
    assert DRLoss()(logits, targets) == 4 * dr_loss(logits, targets)
    assert dr_loss(logits.half(), targets).dtype == torch.float32
