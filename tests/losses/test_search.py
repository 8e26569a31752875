from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import LOGITS
from torch import Tensor

from brs_detr.losses import search
from brs_detr.losses.search import SearchTable, count_below

NUMBERS = st.one_of(LOGITS, st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1e300, -1e300, 5e-324]))


def reference(values: Tensor, points: Tensor, or_equal: bool) -> Tensor:
    return torch.searchsorted(values, points, right=or_equal, out_int32=True)


@given(st.lists(NUMBERS, min_size=1, max_size=40), st.lists(NUMBERS, max_size=40), st.booleans())
def test_table_equals_searchsorted(values: list[float], points: list[float], or_equal: bool) -> None:
    values = torch.tensor(sorted(values), dtype=torch.float64)
    points = torch.cat([torch.tensor(points, dtype=torch.float64), values])
    assert torch.equal(SearchTable(values).count_below(points, or_equal), reference(values, points, or_equal))


@pytest.mark.parametrize("or_equal", [False, True])
@pytest.mark.parametrize("crowd", [0, 900])
def test_many_points_in_chunks(or_equal: bool, crowd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd of values in one cell of the table costs more halvings, and no exactness."""
    monkeypatch.setattr(search, "CHUNK", 1000)
    random = torch.Generator().manual_seed(0)
    values = torch.randn(1000, generator=random, dtype=torch.float64)
    values[:crowd] = 1e-9 * values[:crowd]
    values = values.sort().values
    points = torch.randn(5001, generator=random, dtype=torch.float64)
    points[::7] = values[torch.randint(1000, points[::7].shape, generator=random)]
    assert torch.equal(count_below(values, points, or_equal=or_equal), reference(values, points, or_equal))
