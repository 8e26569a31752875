from __future__ import annotations

import math

import pytest
import torch
from losses import PROBES
from torch import Tensor

from measuring.operations import count_operations, extrapolate
from measuring.problems import Cell, Problem, fewer_positives, forward_backward, make_problem

A, B, V = torch.rand(30, 40), torch.rand(40, 50), torch.rand(1024)
INDS = torch.arange(10)
COSTS = {
    "element-wise": (lambda: A + 1, 1200),
    "broadcast": (lambda: A[:, :1] + B[:1], 30 * 50),
    "reduction": (lambda: A.sum(), 1200),
    "fill": (lambda: torch.zeros(70), 70),
    "copy": (lambda: A.double(), 1200),
    "view": (lambda: A.view(-1)[3:].unsqueeze(0).expand(5, -1), 0),
    "allocation": (lambda: torch.empty(70), 0),
    "product": (lambda: A @ B, 2 * 30 * 40 * 50),
    "matrix and vector": (lambda: A @ V[:40], 2 * 30 * 40),
    "dot": (lambda: V @ V, 2 * 1024),
    "sort": (lambda: V.sort(), 1024 * 10),
    "sort of rows": (lambda: V.view(4, 256).sort(dim=1, stable=True), 1024 * 8),
    "search": (lambda: torch.searchsorted(V, A), round(1200 * 10)),
    "gather": (lambda: V[INDS], 10),
    "mask": (lambda: V[V > 2], 2 * 1024),
    "scatter": (lambda: torch.empty(1024).index_add_(0, INDS, V[:10]), 10),
}


@pytest.mark.parametrize("name", COSTS)
def test_cost_model(name: str) -> None:
    call, cost = COSTS[name]
    assert count_operations(call) == cost


@pytest.fixture(scope="module")
def operator():
    """x -> 2 x + 1 as an operator of this package, with another operator as its backward."""

    @torch.library.custom_op("brs_detr::counted", mutates_args=())
    def counted(x: Tensor) -> Tensor:
        return x * 2 + 1

    @torch.library.custom_op("brs_detr::counted_backward", mutates_args=())
    def counted_backward(x: Tensor) -> Tensor:
        return counted(x) - 1

    counted.register_autograd(lambda ctx, upstream: counted_backward(upstream))
    return counted


def test_our_operators_are_looked_into_forward_and_backward(operator) -> None:
    x = torch.rand(100, requires_grad=True)
    assert count_operations(lambda: operator(x)) == 200
    y = operator(x)
    upstream = torch.ones(100)
    assert count_operations(lambda: y.backward(upstream)) == 300
    assert x.grad.tolist() == [2] * 100


def test_our_losses_do_more_than_nothing_and_no_pairs() -> None:
    problem = make_problem(Cell("paper", "x", 20_000, 200), torch.device("cpu"), torch.float32, seed=0)
    for name in ("bucketed", "exact"):
        a_logit = count_operations(lambda name=name: forward_backward(name, problem)) / 20_000
        assert 10 < a_logit < 200


@pytest.mark.parametrize(("name", "num_positives"), [("loop", 600), ("bucketed_matrix", 3000)])
def test_operations_follow_from_few_positives(name: str, num_positives: int) -> None:
    problem = make_problem(Cell("paper", "x", 20_000, num_positives), torch.device("cpu"), torch.float32, seed=0)

    def count(problem: Problem) -> int:
        return count_operations(lambda: forward_backward(name, problem))

    probes = [number // 4 if name == "bucketed_matrix" else number for number in PROBES[name]]
    followed = extrapolate(probes, [count(fewer_positives(problem, number)) for number in probes], num_positives)
    assert followed == pytest.approx(count(problem), rel=2e-3)


def test_extrapolation_is_exact_for_a_parabola() -> None:
    assert extrapolate((1, 2, 5), [3 * x**2 - x + 7 for x in (1, 2, 5)], 1000) == 3 * 1000**2 - 1000 + 7
    assert math.isclose(extrapolate((7,), [12], 99), 12)
