from __future__ import annotations

import pytest
import torch

from brs_detr.losses import self_balancing_weight


def test_gives_the_box_loss_the_value_of_the_ranking_loss(device: torch.device) -> None:
    ranking, box = torch.tensor([3.0, 0.25], device=device, requires_grad=True).unbind()
    assert (self_balancing_weight(ranking, box) * box).item() == pytest.approx(3.0)


def test_is_detached_and_keeps_the_direction_of_the_box_loss() -> None:
    ranking, box = torch.tensor(3.0, requires_grad=True), torch.tensor(0.25, requires_grad=True)
    (self_balancing_weight(ranking, box) * box).backward()
    assert ranking.grad is None and box.grad.item() == 12.0


@pytest.mark.parametrize("ranking", [0.0, 2.0])
@pytest.mark.parametrize("box", [0.0, 1e-45])
def test_nothing_to_balance_is_a_weight_of_zero(ranking: float, box: float) -> None:
    assert self_balancing_weight(torch.tensor(ranking), torch.tensor(box)).item() == 0


def test_a_broken_box_loss_stays_visible() -> None:
    box = torch.tensor(float("nan"))
    assert (self_balancing_weight(torch.tensor(1.0), box) * box).isnan()


def test_mixed_dtypes() -> None:
    assert self_balancing_weight(torch.tensor(1.0), torch.tensor(0.5, dtype=torch.bfloat16)).dtype == torch.float32
