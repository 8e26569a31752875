from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import DELTAS, LOGITS
from torch import Tensor

from brs_detr.losses.step import Ramps, StepMatrix, step

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
