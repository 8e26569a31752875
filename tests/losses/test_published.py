"""The published algorithms, kept as baselines, give the same numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from problems import Problem, problems, value_and_gradient

from brs_detr.losses import bucketed_rank_sort_loss, rank_sort_loss
from brs_detr.losses.published import loop_rank_sort_loss, matrix_bucketed_rank_sort_loss

PAIRS = [(loop_rank_sort_loss, rank_sort_loss), (matrix_bucketed_rank_sort_loss, bucketed_rank_sort_loss)]
each_pair = pytest.mark.parametrize(("published", "ours"), PAIRS, ids=["loop", "matrix"])


@each_pair
@pytest.mark.parametrize("output", ["rank", "sort"])
@given(problem=problems())
def test_equals_ours_at_every_delta(published, ours, output: str, problem: Problem) -> None:
    expected = value_and_gradient(lambda *args: getattr(published(*args), output), *problem)
    actual = value_and_gradient(lambda *args: getattr(ours(*args), output), *problem)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)


@each_pair
@pytest.mark.parametrize("delta", [0.0, 1e-6, 0.5, 10.0])
@pytest.mark.parametrize("num_positives", [3, 300, 2000])
def test_equals_ours_on_the_papers_synthetic_data(
    published, ours, delta: float, num_positives: int, device: torch.device
) -> None:
    """S.3.2; 2,000 positives are more than ours compares pair by pair."""
    random = torch.Generator().manual_seed(num_positives)
    logits = torch.randn(20_000, generator=random, dtype=torch.float64) + 1
    logits[:num_positives] -= 2
    targets = torch.zeros_like(logits)
    targets[:num_positives] = 1 - torch.rand(num_positives, generator=random, dtype=torch.float64)
    problem = logits.to(device), targets.to(device), delta
    for output in (0, 1):
        value, gradient = value_and_gradient(lambda *args, output=output: ours(*args)[output], *problem)
        expected = value_and_gradient(lambda *args, output=output: published(*args)[output], *problem)
        torch.testing.assert_close(value, expected[0], rtol=0, atol=1e-9)
        torch.testing.assert_close(gradient, expected[1], rtol=0, atol=1e-9 * expected[1].abs().max().item())


@pytest.mark.parametrize("published", [loop_rank_sort_loss, matrix_bucketed_rank_sort_loss])
@pytest.mark.parametrize("targets", [[], [0.0, 0.0], [0.7, -1.0], [0.7, 0.3]])
def test_nothing_to_rank(published, targets: list[float]) -> None:
    logits = torch.linspace(-1, 1, len(targets), requires_grad=True)
    loss = published(logits, torch.tensor(targets))
    loss.rank.backward()
    assert loss.rank == 0 and not logits.grad.any()


@pytest.mark.parametrize("published", [loop_rank_sort_loss, matrix_bucketed_rank_sort_loss])
def test_wrong_input_is_an_error(published) -> None:
    with pytest.raises(ValueError, match="targets must be 0"):
        published(torch.zeros(2), torch.tensor([2.0, 0.0]))
    with pytest.raises(ValueError, match="one row"):
        published(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="delta"):
        published(torch.zeros(2), torch.zeros(2), -1.0)
