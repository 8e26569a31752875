from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper

from brs_detr.engine.finetune.accumulation import CloseAccumulation
from brs_detr.heads.ranking import RankingLossMixin
from brs_detr.heads.ranking_memory import Ranked


def train(num_epochs: int, num_batches: int, hook: CloseAccumulation | None) -> list[float]:
    """The weight after each batch of a model whose gradient is the number of the batch in its epoch, from 1."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0), accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, num_epochs * num_batches)
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, train_dataloader=range(num_batches))
    weights = []
    for _ in range(num_epochs):
        if hook is not None:
            hook.before_train_epoch(runner)
        for number in range(1, num_batches + 1):
            wrapper.update_params(model(torch.full((1,), float(number))).sum())
            weights.append(-model.weight.item())
    return weights


def test_what_is_left_at_the_end_of_an_epoch_makes_a_step_of_its_own() -> None:
    first = [0, 0, 2, 2, 6.5]  # the means of 1, 2, 3 and of 4, 5
    assert train(2, 5, CloseAccumulation()) == pytest.approx(first + [6.5 + weight for weight in first])


def test_mmengine_alone_lets_it_wait_for_the_next_epoch() -> None:
    weights = train(2, 5, None)
    assert weights[4] == weights[3]
    assert weights[5] == pytest.approx(2 + (4 + 5 + 1) / 3)


def test_set_smaller_than_the_effective_batch_is_seen_as_a_whole() -> None:
    assert train(2, 2, CloseAccumulation()) == pytest.approx([0, 1.5, 1.5, 3])


def test_warning_about_the_order_of_steps_is_silenced() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CloseAccumulation().before_train(SimpleNamespace())
        warnings.warn("Detected call of `scheduler.step()` before `optimizer.step()`.", UserWarning, stacklevel=1)
    assert not caught


def test_what_ranking_losses_remember_ends_with_the_epoch() -> None:
    class Head(RankingLossMixin, torch.nn.Module):
        pass

    head = Head(ranking_memory=2)
    batch = Ranked(torch.zeros(3), torch.zeros(3), 3)
    wrapper = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), accumulative_counts=3)
    runner = SimpleNamespace(model=torch.nn.Sequential(head), optim_wrapper=wrapper, train_dataloader=range(5))
    assert [head.memory.join("", batch)[1] for _ in range(4)] == [1, 2, 3, 3]
    CloseAccumulation().before_train_epoch(runner)
    assert head.memory.join("", batch)[1] == 1
