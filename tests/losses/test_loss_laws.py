"""Laws that hold for every term of every loss, for any input."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from problems import TERMS, Problem, problems, value_and_gradient
from torch import Tensor

from brs_detr.losses import ap_loss, bucketed_ap_loss

Term = Callable[[Tensor, Tensor, float], Tensor]
EXACT = {"rtol": 0, "atol": 1e-9}
each_term = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)
ranking_terms = pytest.mark.parametrize(
    "term", [term for name, term in TERMS.items() if "sort" not in name], ids=[n for n in TERMS if "sort" not in n]
)


@each_term
@given(problem=problems(), seed=st.integers(0, 2**31))
def test_permutation(term: Term, problem: Problem, seed: int) -> None:
    order = torch.randperm(len(problem.logits), generator=torch.Generator().manual_seed(seed))
    value, gradient = value_and_gradient(term, *problem)
    permuted = value_and_gradient(term, problem.logits[order], problem.targets[order], problem.delta)
    torch.testing.assert_close(permuted, (value, gradient[order]), **EXACT)


@each_term
@given(problem=problems(), shift=st.integers(-100, 100))
def test_shift(term: Term, problem: Problem, shift: int) -> None:
    shifted = value_and_gradient(term, problem.logits + shift, problem.targets, problem.delta)
    torch.testing.assert_close(shifted, value_and_gradient(term, *problem), **EXACT)


@each_term
@given(problem=problems())
def test_gradient_sums_to_zero(term: Term, problem: Problem) -> None:
    assert value_and_gradient(term, *problem)[1].sum().item() == pytest.approx(0, abs=1e-9)


@each_term
@given(problem=problems())
def test_value_is_a_share(term: Term, problem: Problem) -> None:
    assert 0 <= value_and_gradient(term, *problem)[0].item() <= 1


@ranking_terms
@given(problem=problems())
def test_ranking_pulls_positives_up_and_pushes_negatives_down(term: Term, problem: Problem) -> None:
    gradient = value_and_gradient(term, *problem)[1]
    assert (gradient[problem.targets > 0] <= 0).all()
    assert (gradient[problem.targets == 0] >= 0).all()


@pytest.mark.parametrize("name", ["sort", "bucketed_sort"])
@given(problem=problems())
def test_sorting_moves_positives_only(name: str, problem: Problem) -> None:
    gradient = value_and_gradient(TERMS[name], *problem)[1]
    assert not gradient[problem.targets <= 0].any()


@each_term
@given(problem=problems(), data=st.data())
def test_ignored_examples_are_inert(term: Term, problem: Problem, data: st.DataObject) -> None:
    is_kept = problem.targets != -1
    value, gradient = value_and_gradient(term, *problem)
    assert not gradient[~is_kept].any()
    without = value_and_gradient(term, problem.logits[is_kept], problem.targets[is_kept], problem.delta)
    torch.testing.assert_close((value, gradient[is_kept]), without, **EXACT)


@each_term
@given(problem=problems(max_size=12), copies=st.integers(2, 4))
def test_copies_of_all_examples_change_nothing(term: Term, problem: Problem, copies: int) -> None:
    """Errors are shares of counts, so that a problem in several copies has the same loss, and each copy its part of it.

    (But for the half that the interpolated loss adds to each count.)
    """
    assume(term is not TERMS["interpolated_ap"] or problem.delta == 0)
    value, gradient = value_and_gradient(term, *problem)
    copied = value_and_gradient(term, problem.logits.repeat(copies), problem.targets.repeat(copies), problem.delta)
    torch.testing.assert_close(copied, (value, (gradient / copies).repeat(copies)), **EXACT)


@pytest.mark.parametrize("name", ["ap", "interpolated_ap", "rank"])
@given(problem=problems(), data=st.data())
def test_a_negative_that_rises_never_lowers_the_loss(name: str, problem: Problem, data: st.DataObject) -> None:
    negatives = (problem.targets == 0).nonzero().flatten().tolist()
    assume(negatives)
    risen = problem.logits.clone()
    risen[data.draw(st.sampled_from(negatives))] += data.draw(st.sampled_from([1e-3, 0.25, 1.0, 100.0]))
    before = value_and_gradient(TERMS[name], *problem)[0]
    after = value_and_gradient(TERMS[name], risen, problem.targets, problem.delta)[0]
    assert after >= before - 1e-12


def below_where_tied(logits: Tensor, targets: Tensor) -> Tensor:
    """The tie rule of buckets at delta 0, expressed in logits.

    A negative tied with a positive is in the bucket below it. There it counts as just below the positive, unless all of
    the bucket is tied with it.
    """
    logits = logits.clone()
    positives = logits[targets > 0].sort().values
    negatives = (targets == 0).nonzero().flatten()
    for positive, below in zip(positives, [-torch.inf, *positives.tolist()], strict=False):
        bucket = negatives[(logits[negatives] <= positive) & (logits[negatives] > below)]
        is_tied = logits[bucket] == positive
        is_lowest = below == -torch.inf  # its bucket has no negative lower than the positive
        if not is_lowest and not is_tied.all():
            logits[bucket[is_tied]] = torch.nextafter(positive, torch.tensor(-torch.inf).double())
    return logits


@pytest.mark.parametrize(("bucketed", "exact"), [("bucketed_ap", "ap"), ("bucketed_rank", "rank")])
@given(problem=problems())
def test_theorem_4_1_buckets_change_nothing_at_delta_zero(bucketed: str, exact: str, problem: Problem) -> None:
    logits = below_where_tied(problem.logits, problem.targets)
    expected = value_and_gradient(TERMS[exact], logits, problem.targets, 0.0)
    actual = value_and_gradient(TERMS[bucketed], problem.logits, problem.targets, 0.0)
    torch.testing.assert_close(actual, expected, **EXACT)


def test_theorem_4_1_on_continuous_logits(device: torch.device) -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, generator=random, dtype=torch.float64).to(device)
    targets = (torch.rand(20_000, generator=random) < 0.05).double().to(device)
    exact = value_and_gradient(ap_loss, logits, targets, 0.0)
    torch.testing.assert_close(value_and_gradient(bucketed_ap_loss, logits, targets, 0.0), exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("lower", "expected"), [([], 1 / 2), ([0.25], 0.0)])
def test_tie_rule(lower: list[float], expected: float) -> None:
    """A negative tied with a positive counts above it at delta 0, in buckets only as long as no lower one joins it.

    The positive at -1 is what makes the lower negative relevant; the rest of the value is its error, 1/3 or 2/4.
    """
    logits = torch.tensor([0.5, -1.0, 0.5, *lower], dtype=torch.float64)
    targets = torch.tensor([1.0, 1.0, 0.0, *[0.0] * len(lower)])
    num_negatives = 1 + len(lower)
    error_of_lowest = num_negatives / (2 + num_negatives)
    assert ap_loss(logits, targets, 0.0).item() == pytest.approx((1 / 2 + error_of_lowest) / 2)
    assert bucketed_ap_loss(logits, targets, 0.0).item() == pytest.approx((expected + error_of_lowest) / 2)


@each_term
def test_one_tied_positive_is_no_better_than_another(term: Term) -> None:
    logits = torch.tensor([0.5, 0.5, 0.5, 1.0], dtype=torch.float64)
    gradient = value_and_gradient(term, logits, torch.tensor([0.5, 0.5, 0.5, 0.0]), 0.5)[1]
    assert gradient[:3].unique().numel() == 1
