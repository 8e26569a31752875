from __future__ import annotations

import pytest
import torch

from brs_detr.losses.identity_update import attach


def test_the_gradient_is_the_stated_one_times_what_comes_from_above() -> None:
    logits = torch.zeros(2, requires_grad=True)
    (loss,) = attach(logits, torch.tensor([0.25]), torch.tensor([[1.0, -1.0]]))
    assert loss.item() == 0.25
    (8 * loss).backward()
    assert logits.grad.tolist() == [8, -8]


def test_a_second_derivative_is_refused() -> None:
    logits = torch.zeros(1, requires_grad=True)
    (loss,) = attach(logits, torch.tensor([0.5]), torch.ones(1, 1))
    (gradient,) = torch.autograd.grad(loss.square(), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_logits_without_gradient_give_a_plain_number() -> None:
    (loss,) = attach(torch.zeros(1), torch.tensor([0.5]), torch.ones(1, 1))
    assert not loss.requires_grad
