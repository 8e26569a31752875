from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import DELTAS, LOGITS
from torch import Tensor

from brs_detr.losses.cpu.sorting import MOST_IN_TILES, sort_positives, sum_over_above_and_worse
from brs_detr.losses.cpu.steps import Ramps, step

QUALITY = st.sampled_from([0.25, 0.5, 0.5000001, 0.75, 1.0])


def dense(logits: Tensor, quality: Tensor, weights: Tensor, delta: float) -> Tensor:
    above = step(logits - logits[:, None], delta)
    return weights @ (above * (quality < quality[:, None])).T


@given(st.lists(st.tuples(LOGITS, QUALITY, st.floats(0, 2)), min_size=1, max_size=40), DELTAS)
def test_equals_all_pairs(examples: list[tuple[float, float, float]], delta: float) -> None:
    logits, quality, weights = torch.tensor(sorted(examples), dtype=torch.float64).T.contiguous()
    weights = torch.stack([torch.ones_like(weights), weights])
    actual = sum_over_above_and_worse(logits, quality, weights, Ramps(logits, delta), delta)
    torch.testing.assert_close(actual, dense(logits, quality, weights, delta), rtol=0, atol=1e-10)


@pytest.mark.parametrize("delta", [0.0, 1e-6, 0.5, 10.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_many_positives(delta: float, scale: float, device: torch.device) -> None:
    random = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(3000, generator=random, dtype=torch.float64).sort().values.to(device)
    quality = torch.randint(1, 500, (3000,), generator=random).double().to(device) / 500  # with many ties
    weights = torch.rand(2, 3000, generator=random, dtype=torch.float64).to(device)
    actual = sum_over_above_and_worse(logits, quality, weights, Ramps(logits, delta), delta)
    torch.testing.assert_close(actual, dense(logits, quality, weights, delta), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("delta", [0.0, 0.5])
def test_both_ways_of_sorting_agree_where_they_meet(delta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    positives = torch.randn(MOST_IN_TILES, generator=random, dtype=torch.float64).sort().values
    quality = torch.rand(MOST_IN_TILES, generator=random, dtype=torch.float64)
    in_tiles = sort_positives(positives, quality, Ramps(positives, delta), delta)
    monkeypatch.setattr("brs_detr.losses.cpu.sorting.MOST_IN_TILES", 0)
    by_passes = sort_positives(positives, quality, Ramps(positives, delta), delta)
    torch.testing.assert_close(by_passes, in_tiles, rtol=0, atol=1e-10)
