"""Ranking problems that hypothesis makes up, and how to differentiate a loss on one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from brs_detr.losses import ap_loss, bucketed_ap_loss, bucketed_rank_sort_loss, rank_sort_loss


class Problem(NamedTuple):
    logits: Tensor
    targets: Tensor
    delta: float


# Half precision values add up and shift without rounding in float64, so that ties stay ties.
LOGITS = st.one_of(st.integers(-8, 8).map(lambda n: n / 4), st.floats(-50, 50, width=16))
TARGETS = st.one_of(st.sampled_from([0.0, 0.0, -1.0]), st.sampled_from([1e-6, 0.25, 0.5, 0.75, 1.0]))
DELTAS = st.sampled_from([0.0, 0.125, 0.3, 0.5, 1.0, 10.0])


@st.composite
def problems(draw: st.DrawFn, max_size: int = 24) -> Problem:
    examples = draw(st.lists(st.tuples(LOGITS, TARGETS), max_size=max_size))
    columns = torch.tensor(examples, dtype=torch.float64).reshape(-1, 2)
    return Problem(columns[:, 0].clone(), columns[:, 1].clone(), draw(DELTAS))


def interpolated_ap_loss(logits: Tensor, targets: Tensor, delta: float) -> Tensor:
    return ap_loss(logits, targets, delta, interpolated=True)


TERMS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "ap": ap_loss,
    "interpolated_ap": interpolated_ap_loss,
    "bucketed_ap": bucketed_ap_loss,
    "rank": lambda *problem: rank_sort_loss(*problem).rank,
    "bucketed_rank": lambda *problem: bucketed_rank_sort_loss(*problem).rank,
    "sort": lambda *problem: rank_sort_loss(*problem).sort,
    "bucketed_sort": lambda *problem: bucketed_rank_sort_loss(*problem).sort,
}


def value_and_gradient(
    loss: Callable[[Tensor, Tensor, float], Tensor], logits: Tensor, targets: Tensor, delta: float
) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().clone().requires_grad_()
    value = loss(leaf, targets, delta)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient
