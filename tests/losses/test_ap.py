from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import given
from problems import Problem, problems, value_and_gradient
from torch import Tensor

from brs_detr.losses import APLoss, BucketedAPLoss, ap_loss, bucketed_ap_loss, bucketed_rank_sort_loss, rank_sort_loss


@given(problems())
def test_ap_equals_its_equation(problem: Problem) -> None:
    expected = oracle.ranking(*problem)
    value, gradient = value_and_gradient(ap_loss, *problem)
    assert value.item() == pytest.approx(expected.value, abs=1e-9)
    torch.testing.assert_close(gradient, expected.gradient, rtol=0, atol=1e-9)


@given(problems())
def test_interpolated_ap_equals_its_equation(problem: Problem) -> None:
    expected = oracle.ranking(*problem, interpolated=True)
    value, gradient = value_and_gradient(lambda *args: ap_loss(*args, interpolated=True), *problem)
    assert value.item() == pytest.approx(expected.value, abs=1e-9)
    torch.testing.assert_close(gradient, expected.gradient, rtol=0, atol=1e-9)


@given(problems())
def test_bucketed_ap_equals_its_equation(problem: Problem) -> None:
    expected = oracle.ranking(*problem, bucketed=True)
    value, gradient = value_and_gradient(bucketed_ap_loss, *problem)
    assert value.item() == pytest.approx(expected.value, abs=1e-9)
    torch.testing.assert_close(gradient, expected.gradient, rtol=0, atol=1e-9)


@given(problems())
def test_ap_is_the_ranking_part_of_rank_sort(problem: Problem) -> None:
    for ap, rank_sort in ((ap_loss, rank_sort_loss), (bucketed_ap_loss, bucketed_rank_sort_loss)):
        value, gradient = value_and_gradient(ap, *problem)
        rank_value, rank_gradient = value_and_gradient(lambda *args, loss=rank_sort: loss(*args).rank, *problem)
        assert torch.equal(value, rank_value)
        assert torch.equal(gradient, rank_gradient)


def average_precision(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the metric by sorting all logits."""
    is_positive = targets[logits.argsort(descending=True)] > 0
    precision = is_positive.cumsum(0) / torch.arange(1, len(logits) + 1, device=logits.device)
    return precision[is_positive].double().mean()


def test_is_one_minus_average_precision_on_a_million_logits(device: torch.device) -> None:
    """A matrix of negatives by positives would take 8 GB."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randperm(1_000_000, generator=random).double().to(device) / 1e5
    targets = torch.zeros_like(logits)
    targets[:1000] = 1
    expected = 1 - average_precision(logits, targets)
    assert ap_loss(logits, targets, 0.0).item() == pytest.approx(expected.item(), abs=1e-6)
    assert bucketed_ap_loss(logits, targets, 0.0).item() == pytest.approx(expected.item(), abs=1e-6)


def test_modules_store_arguments() -> None:
    logits, targets = torch.tensor([0.3, 0.1, -0.2, 0.4]), torch.tensor([1.0, 0.0, 0.5, 0.0])
    expected = 3 * ap_loss(logits, targets, 0.2, interpolated=True)
    assert torch.equal(APLoss(delta=0.2, loss_weight=3, interpolated=True)(logits, targets), expected)
    assert torch.equal(
        BucketedAPLoss(delta=0.2, loss_weight=3)(logits, targets), 3 * bucketed_ap_loss(logits, targets, 0.2)
    )
    assert "delta=0.2" in repr(BucketedAPLoss(delta=0.2))
    assert "interpolated=True" in repr(APLoss(interpolated=True))
