"""Degenerate input: nothing to rank, everything tied, extreme values, every dtype; and invalid input."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from problems import TERMS, value_and_gradient
from torch import Tensor

from brs_detr.losses import BucketedAPLoss, RankSortLoss, bucketed_rank_sort_loss, rank_sort_loss

Term = Callable[[Tensor, Tensor, float], Tensor]
each_term = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)
each_delta = pytest.mark.parametrize("delta", [0.0, 1e-6, 0.5, 10.0])


@each_term
@each_delta
@pytest.mark.parametrize(
    "targets",
    [[], [0.0], [0.0, 0.0, 0.0], [-1.0, -1.0], [0.0, -1.0], [0.7], [0.7, -1.0]],
    ids=[
        "empty",
        "one_negative",
        "no_positives",
        "all_ignored",
        "negative_and_ignored",
        "one_positive",
        "no_negatives",
    ],
)
def test_nothing_to_rank_is_a_zero_attached_to_the_logits(
    term: Term, delta: float, targets: list[float], device: torch.device
) -> None:
    logits = torch.linspace(-1, 1, len(targets), device=device, requires_grad=True)
    loss = term(logits, torch.tensor(targets, device=device), delta)
    assert loss.requires_grad and loss.shape == () and loss.dtype == torch.float32 and loss.device == logits.device
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@each_term
def test_no_relevant_negative_leaves_the_negatives_alone(term: Term) -> None:
    logits = torch.tensor([5.0, 4.0, -50.0, -40.0])
    value, gradient = value_and_gradient(term, logits, torch.tensor([0.2, 0.8, 0.0, 0.0]), 0.5)
    assert value.isfinite() and not gradient[2:].any()


@each_term
@each_delta
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 50.0, 6e4])
@pytest.mark.fault("Numbers", "logits at the limit of their dtype", "losses and gradients stay finite")
def test_extreme_logits_stay_finite(term: Term, delta: float, dtype: torch.dtype, size: float) -> None:
    random = torch.Generator().manual_seed(0)
    logits = size * torch.randn(200, generator=random).sign().to(dtype)
    targets = (torch.rand(200, generator=random) * 2 - 1).clamp(min=0)
    value, gradient = value_and_gradient(term, logits, targets, delta)
    assert 0 <= value <= 1 and gradient.isfinite().all()
    assert gradient.double().sum().item() == pytest.approx(0, abs=1e-2 if dtype == torch.float16 else 1e-6)


@pytest.mark.parametrize("name", ["ap", "bucketed_ap", "rank", "bucketed_rank"])
def test_the_ramp_is_a_step_between_the_largest_logits(name: str) -> None:
    logits, targets = torch.tensor([3e38, -3e38, 1e38, -1e38]), torch.tensor([0.0, 0.9, 0.5, 0.0])
    expected = value_and_gradient(TERMS[name], logits / 1e38, targets, 1e-9)
    torch.testing.assert_close(value_and_gradient(TERMS[name], logits, targets, 0.5), expected)


@each_term
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_dtype_is_computed_in_float32_or_better(term: Term, dtype: torch.dtype, device: torch.device) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(300, generator=random).to(device, dtype)
    targets = (torch.rand(300, generator=random) * 2 - 1).clamp(min=0).to(device, dtype)
    value, gradient = value_and_gradient(term, logits, targets, 0.5)
    expected_value, expected_gradient = value_and_gradient(term, logits.double(), targets.double(), 0.5)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert gradient.dtype == dtype
    assert torch.equal(value, expected_value.to(value.dtype))
    assert torch.equal(gradient, expected_gradient.to(value.dtype).to(dtype))


def test_half_precision_adds_both_terms_before_rounding() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(300, generator=random).bfloat16()
    targets = (torch.rand(300, generator=random) * 2 - 1).clamp(min=0)

    def total(*problem) -> Tensor:
        return torch.stack(rank_sort_loss(*problem)).sum()

    expected = value_and_gradient(total, logits.float(), targets, 0.5)[1]
    assert torch.equal(value_and_gradient(total, logits, targets, 0.5)[1], expected.bfloat16())


def test_autocast_changes_nothing() -> None:
    random = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(300, generator=random), torch.rand(300, generator=random)
    expected = bucketed_rank_sort_loss(logits, targets)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, bucketed_rank_sort_loss(logits, targets), expected))


def test_targets_receive_no_gradient() -> None:
    logits, targets = torch.tensor([0.2, 0.1], requires_grad=True), torch.tensor([0.5, 0.0], requires_grad=True)
    rank_sort_loss(logits, targets).rank.backward()
    assert logits.grad.any() and targets.grad is None


@each_term
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_are_an_error(term: Term, bad: float) -> None:
    logits = torch.tensor([0.0, bad, 1.0])
    with pytest.raises(ValueError, match=r"logits must be finite, found NaN or Inf: 1 wrong, the first at index 1"):
        term(logits, torch.tensor([1.0, -1.0, 0.0]), 0.5)


@each_term
@pytest.mark.parametrize("bad", [float("nan"), 1.5, -0.5, -2.0, float("inf")])
def test_targets_out_of_range_are_an_error(term: Term, bad: float) -> None:
    with pytest.raises(ValueError, match="targets must be 0"):
        term(torch.zeros(2), torch.tensor([0.0, bad]), 0.5)


def test_an_iou_may_exceed_one_by_rounding() -> None:
    logits = torch.tensor([0.0, 0.5, 1.0])
    rounded = rank_sort_loss(logits, torch.tensor([1.000001, 0.5, 0.0]))
    assert all(map(torch.equal, rounded, rank_sort_loss(logits, torch.tensor([1.0, 0.5, 0.0]))))


@each_term
def test_wrong_shapes_and_dtypes_are_an_error(term: Term) -> None:
    with pytest.raises(ValueError, match=r"shape \[N\] or \[L, N\].*got \[2, 3, 1\] and \[2, 3, 1\]"):
        term(torch.zeros(2, 3, 1), torch.zeros(2, 3, 1), 0.5)
    with pytest.raises(ValueError, match=r"got \[2, 3\] and \[3, 3\]"):
        term(torch.zeros(2, 3), torch.zeros(3, 3), 0.5)
    with pytest.raises(ValueError, match=r"got \[3\] and \[2\]"):
        term(torch.zeros(3), torch.zeros(2), 0.5)
    with pytest.raises(TypeError, match=r"float dtype, got torch\.int64"):
        term(torch.zeros(3, dtype=torch.long), torch.zeros(3), 0.5)
    with pytest.raises(ValueError, match="one device, got cpu and meta"):
        term(torch.zeros(3), torch.zeros(3, device="meta"), 0.5)


@pytest.mark.parametrize("delta", [-0.5, float("nan"), float("inf")])
def test_delta_out_of_range_is_an_error(delta: float) -> None:
    for make in (RankSortLoss, BucketedAPLoss, lambda delta: rank_sort_loss(torch.zeros(1), torch.zeros(1), delta)):
        with pytest.raises(ValueError, match="delta must be a finite number >= 0"):
            make(delta)
