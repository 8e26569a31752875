"""Checkpoints made while the transformer was a part of the query head; `older_names.txt` is of one of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import build, older_names
from torch import nn

from brs_detr.checkpoints.load_weights import load_weights
from brs_detr.training.checkpoints import follow_parameters

NAMES = Path(__file__).with_name("older_names.txt").read_text().split()


@pytest.fixture
def model(tiny_config: Path) -> nn.Module:
    return build(tiny_config, 6)


def test_the_weights_load_by_any_way(model: nn.Module, tiny_config: Path) -> None:
    stored = older_names(model.state_dict())
    assert set(stored) == set(NAMES)
    other = build(tiny_config, 6, seed=1)
    other.load_state_dict(stored)
    fine_tuned = build(tiny_config, 6, seed=2)
    account = load_weights(fine_tuned, stored)
    assert not (account.missing or account.unused or account.remade)
    wrapped = nn.ModuleDict({"module": build(tiny_config, 6, seed=3)})
    wrapped.load_state_dict({f"module.{name}": value for name, value in stored.items()})
    for loaded in (other, fine_tuned, wrapped["module"]):
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize("in_groups", [False, True])
def test_the_optimizer_goes_on_with_the_state_of_each_parameter(model: nn.Module, in_groups: bool) -> None:
    def optimizer_of(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        groups = [{"params": [one], "lr": 1e-3 * (1 + one.numel())} for one in parameters]
        return torch.optim.AdamW(groups if in_groups else parameters)

    now = dict(model.named_parameters())
    older = {old: now[new] for old, new in zip(older_names(now), now, strict=True)}
    stored = optimizer_of([older[name] for name in NAMES if name in older])
    for index, parameter in enumerate(now.values()):
        state = {"step": torch.tensor(float(index)), "exp_avg": parameter + index, "exp_avg_sq": parameter**2}
        stored.state[parameter] = state
    rates = [group["lr"] for group in stored.param_groups]
    checkpoint = {
        "state_dict": dict.fromkeys(NAMES, torch.zeros(1)),
        "optimizer": stored.state_dict(),
        "param_schedulers": [{"base_values": rates, "_last_value": rates}],
    }
    follow_parameters(checkpoint, model)
    resumed = optimizer_of(list(now.values()))
    resumed.load_state_dict(checkpoint["optimizer"])
    for index, parameter in enumerate(now.values()):
        assert resumed.state[parameter]["step"] == index
        assert torch.equal(resumed.state[parameter]["exp_avg"], parameter + index)
    assert checkpoint["param_schedulers"][0]["base_values"] == [group["lr"] for group in resumed.param_groups]
