from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import DELTAS, LOGITS
from torch import Tensor

from brs_detr.losses.cpu import steps
from brs_detr.losses.cpu.steps import Ramps, SearchTable, StepMatrix, count_below, step

RANDOM = torch.Generator().manual_seed(0)


def random_weights(count: int) -> Tensor:
    return torch.rand(count, generator=RANDOM, dtype=torch.float64)


def dense(points: Tensor, centres: Tensor, delta: float) -> Tensor:
    return step(points[:, None] - centres, delta)  # [N, P]


@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.5, 10.0])
def test_step_follows_its_equation(delta: float) -> None:
    difference = torch.linspace(-12, 12, 97, dtype=torch.float64)
    assert torch.equal(step(difference, delta), oracle.heaviside(difference, delta))


@given(st.lists(LOGITS, max_size=30), st.lists(LOGITS, min_size=1, max_size=30), DELTAS)
def test_both_products_equal_the_dense_matrix(points: list[float], centres: list[float], delta: float) -> None:
    points, centres = torch.tensor(points, dtype=torch.float64), torch.tensor(sorted(centres), dtype=torch.float64)
    matrix, expected = StepMatrix(points, Ramps(centres, delta)), dense(points, centres, delta)
    on_points, on_centres = random_weights(len(points)), random_weights(len(centres))
    torch.testing.assert_close(matrix.sum_over_points(on_points), on_points @ expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(matrix.sum_over_centres(on_centres), expected @ on_centres, rtol=0, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("delta", [0.0, 1e-6, 1e-2, 0.5, 1.0, 10.0])
def test_many_centres(scale: float, delta: float, device: torch.device) -> None:
    values = scale * torch.randn(3000, generator=RANDOM, dtype=torch.float64)
    points, centres = values.to(device).split([2000, 1000])
    centres = centres.sort().values
    matrix, expected = StepMatrix(points, Ramps(centres, delta)), dense(points, centres, delta)
    on_points, on_centres = random_weights(2000).to(device), random_weights(1000).to(device)
    torch.testing.assert_close(matrix.sum_over_points(on_points), on_points @ expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(matrix.sum_over_centres(on_centres), expected @ on_centres, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("delta", [0.0, 1e-300, 0.5])
def test_ramps_shorter_than_the_spacing_of_numbers_are_steps(delta: float) -> None:
    centres = torch.tensor([-1e30, 3e15, 1e30], dtype=torch.float64)
    points = torch.tensor([-2e30, -5e29, 2e30], dtype=torch.float64)
    matrix = StepMatrix(points, Ramps(centres, delta))
    assert matrix.sum_over_points(torch.ones_like(points)).tolist() == [2, 1, 1]
    assert matrix.sum_over_centres(torch.ones_like(centres)).tolist() == [0, 1, 3]


def test_a_point_far_below_every_ramp_is_exactly_untouched() -> None:
    centres = torch.randn(100, generator=RANDOM, dtype=torch.float64).sort().values
    matrix = StepMatrix(torch.tensor([-50.0], dtype=torch.float64), Ramps(centres, 0.5))
    assert matrix.sum_over_centres(torch.rand_like(centres)).tolist() == [0]
    assert matrix.sum_over_points(torch.ones(1, dtype=torch.float64)).count_nonzero() == 0


NUMBERS = st.one_of(LOGITS, st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1e300, -1e300, 5e-324]))


def searchsorted(values: Tensor, points: Tensor, or_equal: bool) -> Tensor:
    return torch.searchsorted(values, points, right=or_equal, out_int32=True)


@given(st.lists(NUMBERS, min_size=1, max_size=40), st.lists(NUMBERS, max_size=40), st.booleans())
def test_table_equals_searchsorted(values: list[float], points: list[float], or_equal: bool) -> None:
    values = torch.tensor(sorted(values), dtype=torch.float64)
    points = torch.cat([torch.tensor(points, dtype=torch.float64), values])
    assert torch.equal(SearchTable(values).count_below(points, or_equal), searchsorted(values, points, or_equal))


@pytest.mark.parametrize("or_equal", [False, True])
@pytest.mark.parametrize("crowd", [0, 900])
def test_many_points_in_chunks(or_equal: bool, crowd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many values in one cell of the table take more bisection steps, but the result stays exact."""
    monkeypatch.setattr(steps, "CHUNK", 1000)
    random = torch.Generator().manual_seed(0)
    values = torch.randn(1000, generator=random, dtype=torch.float64)
    values[:crowd] = 1e-9 * values[:crowd]
    values = values.sort().values
    points = torch.randn(5001, generator=random, dtype=torch.float64)
    points[::7] = values[torch.randint(1000, points[::7].shape, generator=random)]
    assert torch.equal(count_below(values, points, or_equal=or_equal), searchsorted(values, points, or_equal))
