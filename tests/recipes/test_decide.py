from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from mmengine import Config
from rich.console import Console
from tiny_models import model_config  # noqa: F401  sets mmdet's scope

from brs_detr.config.config import load_config
from brs_detr.config.folder_data import use_folder
from brs_detr.errors import UserError
from brs_detr.recipes.apply_recipe import apply_recipe
from brs_detr.recipes.decide import TrialStep, decide, largest_batch
from brs_detr.recipes.plan import TrainingFacts
from brs_detr.recipes.recipe import RECIPES


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
    trial = TrialStep(config, (48, 64), 3, torch.device("cpu"), has_ema=True)
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


@pytest.fixture
def config(tiny_config: Path, shapes: Path, tmp_path: Path) -> Config:
    config = load_config(tiny_config)
    use_folder(config, shapes, tmp_path, Console(quiet=True))
    return config


def test_auto_batch_on_a_gpu_is_what_fits(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {}

    class Trial:
        def __init__(self, config, size, num_objects, device, has_ema) -> None:
            tried.update(size=size, objects=num_objects, device=device.type, mean=has_ema)
            tried.update(queries=config.model.query_head.num_queries, optimizer=config.optim_wrapper.type)

        def __call__(self, batch: int) -> bool:
            tried["batch"] = batch
            return batch < 4

    monkeypatch.setattr("brs_detr.recipes.decide.TrialStep", Trial)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    settings = {"queries": 30, "effective_batch": 16}
    plan = decide(config, "nothing", TrainingFacts(6, 5), batch="auto", settings=settings, amp=True)
    assert tried == dict(
        size=(64, 64), objects=5, device="cuda", mean=True, queries=30, optimizer="AutocastOptimWrapper", batch=4
    )
    assert plan.batch.batch == 2
    assert config.optim_wrapper.type == "OptimWrapper"


def test_backbone_of_unknown_stages(config: Config) -> None:
    config.model.backbone = {"type": "TimmBackbone", "model_name": "resnet18"}
    facts = TrainingFacts(6, 5)
    plan = decide(config, "backbone", facts, settings={})
    assert plan.recipe.frozen_stages == -1
    apply_recipe(config, plan)
    assert "frozen_stages" not in config.model.backbone
    with pytest.raises(UserError, match="frozen_stages does not work with TimmBackbone"):
        decide(config, "backbone", facts, settings={"frozen_stages": 1})


def test_resumed_run_keeps_what_was_decided(config: Config) -> None:
    facts, recipe = TrainingFacts(6, 5), asdict(RECIPES["some", "detector"])
    resumed = {"recipe": {**recipe, "epochs": 7}, "asked": ["epochs"], "batch": 3}
    plan = decide(config, "detector", facts, settings={"flip": 0.1}, resumed=resumed)
    assert plan.recipe == replace(RECIPES["some", "detector"], epochs=7, flip=0.1)
    assert (plan.epochs, plan.batch.batch, plan.asked) == (7, 3, {"epochs", "flip"})
