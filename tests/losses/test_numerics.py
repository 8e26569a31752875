"""A million logits, equal, spread out or tiny, in little memory."""

from __future__ import annotations

import pytest
import torch
from problems import TERMS, value_and_gradient
from torch import Tensor

from brs_detr.losses import bucketed_rank_sort_loss, rank_sort_loss
from measuring.meters import peak_extra_bytes

MILLION = 1_000_000
GIBIBYTE = 1 << 30
each_term = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)


def synthetic(num_logits: int, num_positives: int) -> tuple[Tensor, Tensor]:
    """Positives N(-1, 1), negatives N(1, 1) and random IoU (BRS, S.3.2)."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(num_logits, generator=random) + 1
    logits[:num_positives] -= 2
    targets = torch.zeros(num_logits)
    targets[:num_positives] = 1 - torch.rand(num_positives, generator=random)
    return logits, targets


@each_term
@pytest.mark.parametrize("delta", [0.0, 1e-6, 0.5, 10.0])
def test_a_million_equal_logits(term, delta: float, device: torch.device) -> None:
    """With all logits tied every pair counts H(0), so that errors and gradients have closed forms."""
    logits, targets = torch.full((MILLION,), -4.595, device=device), torch.zeros(MILLION, device=device)
    targets[::1000] = 0.5
    value, gradient = value_and_gradient(term, logits, targets, delta)
    is_sorting, is_interpolated = "sort" in term_name(term), "interpolated" in term_name(term)
    half = 0.5 if is_interpolated and delta > 0 else 0
    tie = 0.5 if delta > 0 else 1.0
    error = 0.0 if is_sorting else 999_000 * tie / (MILLION * tie + half)
    assert value.item() == pytest.approx(error, rel=1e-6)
    torch.testing.assert_close(gradient[targets > 0], torch.full_like(gradient[:1000], -error / 1000))
    torch.testing.assert_close(gradient[targets == 0], torch.full_like(gradient[1000:], error / 999_000))


def term_name(term) -> str:
    return next(name for name, other in TERMS.items() if other is term)


@each_term
@pytest.mark.parametrize("delta", [0.0, 1e-6, 0.5, 10.0])
@pytest.mark.parametrize("scale", [50.0, 1e-3, 1e-40])
def test_gradients_of_wide_and_denormal_logits_sum_to_zero(
    term, delta: float, scale: float, device: torch.device
) -> None:
    logits, targets = synthetic(100_000, 3000)
    value, gradient = value_and_gradient(term, (scale * logits).to(device), targets.to(device), delta)
    assert 0 <= value <= 1 and gradient.isfinite().all()
    assert gradient.double().sum().item() == pytest.approx(0, abs=2e-6)


@each_term
@pytest.mark.parametrize("offset", [1e4, -1e6])
def test_an_offset_costs_no_digits(term, offset: float) -> None:
    logits, targets = synthetic(20_000, 400)
    logits = (logits * 1024).round().double() / 1024  # exact with the offset too
    expected = value_and_gradient(term, logits, targets, 0.3)
    actual = value_and_gradient(term, logits + offset, targets, 0.3)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", [rank_sort_loss, bucketed_rank_sort_loss])
def test_a_million_logits_with_50_000_positives_take_less_than_a_gibibyte(loss, device: torch.device) -> None:
    """A single matrix of positives by positives would take 10 GB."""
    logits, targets = (tensor.to(device) for tensor in synthetic(MILLION, 50_000))
    logits.requires_grad_()

    def step() -> None:
        output = loss(logits, targets)
        (output.rank + output.sort).backward()

    step()
    assert peak_extra_bytes(step, device) < 200 * MILLION < GIBIBYTE


@pytest.mark.parametrize("loss", [rank_sort_loss, bucketed_rank_sort_loss])
def test_memory_is_linear_in_the_number_of_logits(loss, device: torch.device) -> None:
    peaks = []
    for num_logits in (100_000, 1_000_000):
        logits, targets = (tensor.to(device) for tensor in synthetic(num_logits, num_logits // 100))
        peaks.append(peak_extra_bytes(lambda problem=(logits, targets): loss(*problem), device))
    assert peaks[1] < 11 * peaks[0]
