from __future__ import annotations

import pytest
import torch

from brs_detr.errors import UserError
from measuring.problems import Cell, fewer_positives, make_problem, select_cells

CPU = torch.device("cpu")


def test_the_paper_and_co_detr_are_covered() -> None:
    sizes = {(cell.num_logits, cell.num_positives) for cell in select_cells("paper")}
    assert len(sizes) == 12
    assert {(10_000, 10), (100_000, 1_000), (1_000_000, 20_000), (1_000_000, 50_000)} <= sizes
    names = {cell.name: cell for cell in select_cells("co-detr")}
    assert names["encoder proposals"][2:5] == (3_520_000, 40, 1)
    assert names["decoder layers, one call"][2:5] == (7 * 48_000, 7 * 40, 7)
    boxes = {"encoder proposals": 44_000, "decoder layers, one call": 600, "RPN": 500_000, "RoI head": 2000}
    assert {name: names[name].max_positives for name in boxes} == boxes
    assert len(select_cells()) == 12 + len(names)


def test_sizes_can_be_limited_but_not_to_nothing() -> None:
    assert {cell.num_logits for cell in select_cells("all", 48_000)} == {10_000, 48_000}
    with pytest.raises(UserError, match="leaves nothing"):
        select_cells("co-detr", 10_000)


def test_a_problem_has_the_distribution_of_the_paper() -> None:
    problem = make_problem(Cell("paper", "x", 100_000, 20_000), CPU, torch.float32, seed=3)
    logits, is_positive = problem.logits.detach(), problem.targets > 0
    assert problem.logits.requires_grad and problem.logits.is_leaf
    assert int(is_positive.sum()) == 20_000
    assert torch.equal(problem.labels, is_positive.float())
    for mask, mean in ((is_positive, -1), (~is_positive, 1)):
        assert float(logits[mask].mean()) == pytest.approx(mean, abs=0.03)
        assert float(logits[mask].std()) == pytest.approx(1, abs=0.03)
    quality = problem.targets[is_positive]
    assert 0 < float(quality.min()) < 0.01 and 0.99 < float(quality.max()) <= 1
    assert is_positive[:50_000].sum() == pytest.approx(10_000, rel=0.1)  # anywhere, not at the front
    again = make_problem(Cell("paper", "x", 100_000, 20_000), CPU, torch.float32, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(problem[:3], again[:3], strict=True))


def test_rows_and_dtypes() -> None:
    problem = make_problem(Cell("co-detr", "x", 300, 30, num_rows=3), CPU, torch.bfloat16, seed=0)
    assert problem.logits.shape == problem.targets.shape == problem.labels.shape == (3, 100)
    assert [tensor.dtype for tensor in problem[:3]] == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert (problem.targets > 0).sum(1).tolist() == [10, 10, 10]


def test_fewer_positives_keep_the_lowest_and_all_negatives() -> None:
    problem = make_problem(Cell("paper", "x", 200, 40), CPU, torch.float32, seed=0)
    fewer = fewer_positives(problem, 3)
    lowest = problem.logits.detach().masked_fill(problem.targets == 0, torch.inf).argsort()[:3]
    assert sorted(fewer.targets.gt(0).nonzero().flatten().tolist()) == sorted(lowest.tolist())
    assert int((fewer.targets == 0).sum()) == 160
    assert int((fewer.targets == -1).sum()) == 37
