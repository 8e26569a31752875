"""Several rows of logits in one call, and a bound on their positives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import DELTAS, LOGITS, TARGETS, TERMS, value_and_gradient
from torch import Tensor

from brs_detr.losses import RankSortLoss, ap_loss, bucketed_rank_sort_loss, rank_sort_loss

Term = Callable[[Tensor, Tensor, float], Tensor]
each_term = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, float]:
    num_rows, num_logits = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    row = st.lists(st.tuples(LOGITS, TARGETS), min_size=num_logits, max_size=num_logits)
    examples = torch.tensor(draw(st.lists(row, min_size=num_rows, max_size=num_rows)), dtype=torch.float64)
    logits, targets = examples.unbind(-1)
    return logits.clone(), targets.clone(), draw(DELTAS)


def sum_of_gradients(term: Term, logits: Tensor, targets: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    values = term(leaf, targets, delta)
    (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), gradient


@each_term
@given(batch=batches())
def test_each_row_is_a_problem_of_its_own(term: Term, batch: tuple[Tensor, Tensor, float]) -> None:
    logits, targets, delta = batch
    values, gradient = sum_of_gradients(term, *batch)
    rows = [value_and_gradient(term, *row, delta) for row in zip(logits, targets, strict=True)]
    assert torch.equal(values, torch.stack([value for value, _ in rows]))
    assert torch.equal(gradient, torch.stack([row_gradient for _, row_gradient in rows]))


@each_term
def test_rows_may_share_their_targets(term: Term, device: torch.device) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 40, generator=random).to(device)
    targets = (torch.rand(40, generator=random) * 2 - 1).clamp(min=0).to(device)
    shared = sum_of_gradients(term, logits, targets, 0.5)
    assert shared[0].shape == (3,)
    torch.testing.assert_close(shared, sum_of_gradients(term, logits, targets.expand(3, -1), 0.5), rtol=0, atol=0)


def test_upstream_gradients_weigh_rows_and_terms(device: torch.device) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 30, generator=random).to(device).requires_grad_()
    targets = (torch.rand(30, generator=random) * 2 - 1).clamp(min=0).to(device)
    loss = bucketed_rank_sort_loss(logits, targets)
    (rank,) = torch.autograd.grad(loss.rank.sum(), logits, retain_graph=True)
    (sort,) = torch.autograd.grad(loss.sort.sum(), logits, retain_graph=True)
    (weighted,) = torch.autograd.grad(loss.rank[0] + 3 * loss.rank[1] + 5 * loss.sort[1], logits)
    torch.testing.assert_close(weighted, torch.stack([rank[0], 3 * rank[1] + 5 * sort[1]]))


def test_rows_without_positives_or_logits(device: torch.device) -> None:
    logits = torch.zeros(2, 3, device=device, requires_grad=True)
    loss = rank_sort_loss(logits, torch.tensor([[0.0, 0, 0], [0.5, 0, 0]], device=device))
    (loss.rank.sum() + loss.sort.sum()).backward()
    assert loss.rank[0] == 0 and loss.rank[1] > 0 and not logits.grad[0].any() and logits.grad[1].any()
    assert ap_loss(torch.zeros(0, 3, device=device), torch.zeros(3, device=device)).shape == (0,)
    assert ap_loss(torch.zeros(2, 0, device=device), torch.zeros(0, device=device)).tolist() == [0, 0]


@each_term
def test_rows_that_are_not_contiguous(term: Term, device: torch.device) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 3, generator=random).to(device)
    targets = (torch.rand(40, 3, generator=random) * 2 - 1).clamp(min=0).to(device)
    expected = sum_of_gradients(term, logits.T.contiguous(), targets.T.contiguous(), 0.5)
    torch.testing.assert_close(sum_of_gradients(term, logits.T, targets.T, 0.5), expected, rtol=0, atol=0)


def test_a_bound_on_the_positives_changes_nothing_but_is_kept(device: torch.device) -> None:
    logits = torch.tensor([[0.1, 0.4, -0.2, 0.3], [0.5, -0.5, 0.0, 0.2]], device=device)
    targets = torch.tensor([[0.9, 0.0, 0.4, 0.0], [0.7, 0.0, 0.0, -1.0]], device=device)
    expected = rank_sort_loss(logits, targets)
    torch.testing.assert_close(rank_sort_loss(logits, targets, max_positives=2), expected, rtol=0, atol=0)
    torch.testing.assert_close(RankSortLoss()(logits, targets, max_positives=3), expected, rtol=0, atol=0)


def test_more_positives_than_allowed_are_an_error() -> None:
    with pytest.raises(ValueError, match="more positives than max_positives: 2 in one row, max_positives is 1"):
        rank_sort_loss(torch.zeros(2, 3), torch.tensor([[0.5, 0, 0], [0.5, 0.5, 0]]), max_positives=1)


def test_wrong_values_are_found_by_row() -> None:
    logits = torch.zeros(2, 3)
    logits[1, 2] = float("nan")
    with pytest.raises(ValueError, match="1 wrong, the first at row 1, index 2"):
        rank_sort_loss(logits, torch.zeros(3))
