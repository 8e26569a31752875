from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import model_config  # noqa: F401  sets mmdet's scope

from brs_detr.config.config import load_config
from brs_detr.errors import UserError
from brs_detr.finetune.batch_search import TrialStep, largest_batch


@pytest.mark.parametrize(
    ("memory", "limit", "found"), [(1, 16, 1), (5, 16, 4), (100, 16, 16), (100, 12, 12), (9, 1, 1)]
)
def test_batch_is_doubled_until_it_does_not_fit(memory: int, limit: int, found: int) -> None:
    tried = []

    def fits(batch: int) -> bool:
        tried.append(batch)
        return batch <= memory

    assert largest_batch(fits, limit) == found
    assert tried == sorted(set(tried))
    assert max(tried) <= limit


def test_not_even_one_image() -> None:
    with pytest.raises(UserError, match="Not even one image"):
        largest_batch(lambda batch: False, 16)


def test_trial_is_a_training_step(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(tiny_config)
    trial = TrialStep(config, (48, 64), 3, torch.device("cpu"), has_mean=True)
    before = trial.model.neck.convs[0].conv.weight.clone()
    assert trial(2)
    assert not torch.equal(trial.model.neck.convs[0].conv.weight, before)

    def run_out(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trial.model, "train_step", run_out)
    assert not trial(4)


def test_trial_leaves_a_reserve(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = TrialStep(load_config(tiny_config), (64, 64), 1, torch.device("cpu"))
    monkeypatch.setattr(trial, "_used_share", lambda: 0.95)
    assert not trial(1)
