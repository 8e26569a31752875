from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import given
from problems import Problem, problems, value_and_gradient

from brs_detr.losses import BucketedRankSortLoss, RankSortLoss, bucketed_rank_sort_loss, rank_sort_loss
from brs_detr.losses.cpu import sorting

LOSSES = [rank_sort_loss, bucketed_rank_sort_loss]
MODULES = [(RankSortLoss, rank_sort_loss), (BucketedRankSortLoss, bucketed_rank_sort_loss)]


@given(problems())
def test_ranking_part_equals_its_equation(problem: Problem) -> None:
    for loss in LOSSES:
        expected = oracle.ranking(*problem, bucketed=loss is bucketed_rank_sort_loss)
        value, gradient = value_and_gradient(lambda *args, loss=loss: loss(*args).rank, *problem)
        assert value.item() == pytest.approx(expected.value, abs=1e-9)
        torch.testing.assert_close(gradient, expected.gradient, rtol=0, atol=1e-9)


@given(problems())
def test_sorting_part_equals_its_equation(problem: Problem) -> None:
    expected = oracle.sorting(*problem)
    for loss in LOSSES:
        value, gradient = value_and_gradient(lambda *args, loss=loss: loss(*args).sort, *problem)
        assert value.item() == pytest.approx(expected.value, abs=1e-9)
        torch.testing.assert_close(gradient, expected.gradient, rtol=0, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_output_carries_its_own_gradient(loss, device: torch.device) -> None:
    logits = torch.tensor([0.2, 0.9, 0.5, -0.3], dtype=torch.float64, device=device, requires_grad=True)
    targets = torch.tensor([0.9, 0.3, 0.0, 0.0], device=device)
    output = loss(logits, targets)
    (rank,) = torch.autograd.grad(output.rank, logits, retain_graph=True)
    (sort,) = torch.autograd.grad(output.sort, logits, retain_graph=True)
    assert rank[2:].any() and sort[:2].any() and not sort[2:].any()
    (weighted,) = torch.autograd.grad(3 * output.rank + 0.5 * output.sort, logits, retain_graph=True)
    torch.testing.assert_close(weighted, 3 * rank + 0.5 * sort)
    (twice,) = torch.autograd.grad(output.rank * 2 + output.rank + output.sort.square(), logits)
    torch.testing.assert_close(twice, 3 * rank + 2 * output.sort.detach() * sort)


def test_sorting_in_tiles_equals_sorting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    problem = torch.randn(100, generator=random, dtype=torch.float64), torch.rand(100, generator=random), 0.5
    at_once = value_and_gradient(lambda *args: rank_sort_loss(*args).sort, *problem)
    monkeypatch.setattr(sorting, "TILE_ENTRIES", 700)
    in_tiles = value_and_gradient(lambda *args: rank_sort_loss(*args).sort, *problem)
    torch.testing.assert_close(in_tiles, at_once, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("module", "loss"), MODULES)
def test_modules_store_arguments(module, loss) -> None:
    logits, targets = torch.tensor([0.3, 0.1, -0.2, 0.4]), torch.tensor([0.5, 0.0, 1.0, 0.0])
    weighted = module(delta=0.2, loss_weight=3, sort_weight=0.5)(logits, targets)
    plain = loss(logits, targets, 0.2)
    assert torch.equal(weighted.rank, 3 * plain.rank)
    assert torch.equal(weighted.sort, 1.5 * plain.sort)
    assert "sort_weight=0.5" in repr(module(sort_weight=0.5))
