from __future__ import annotations

import io
from pathlib import Path

import pytest
from mmengine import Config
from mmengine.registry import OPTIM_WRAPPERS
from rich.console import Console

from brs_detr.config.losses import classifying_heads
from brs_detr.training import resolve as module
from brs_detr.training.resolve import Request, resolve, set_epochs
from brs_detr.training.train import TrainedRun, default_finetune_dir, default_work_dir, train

QUIET = Console(quiet=True)


def test_what_is_resolved_is_what_is_run(trained: TrainedRun, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    run = resolve(Request(str(tiny_config), shapes, tmp_path / "run", seed=1, epochs=2), QUIET)
    assert run.plan is None and run.checkpoint is None and run.weights is None
    configs = [run.config, Config.fromfile(trained.work_dir / "config.py")]
    for config in configs:
        for name in ("work_dir", "experiment_name"):
            config.pop(name)
    assert configs[0].to_dict() == configs[1].to_dict()
    assert not (tmp_path / "run").exists()


def test_a_trial_step_finds_our_optimizer_wrappers(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Decided(Exception):
        pass

    def decide(*arguments: object, **options: object) -> None:
        assert "AutocastOptimWrapper" in OPTIM_WRAPPERS.module_dict
        raise Decided

    monkeypatch.delitem(OPTIM_WRAPPERS.module_dict, "AutocastOptimWrapper", raising=False)
    monkeypatch.setattr(module, "decide", decide)
    with pytest.raises(Decided):
        resolve(Request(str(tiny_config), shapes, tmp_path / "run", amp=True, by_recipe=True, batch="auto"), QUIET)


def test_a_loss_by_its_name(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    run = resolve(Request(str(tiny_config), shapes, tmp_path / "run", seed=1, loss="exact"), QUIET)
    losses = [head["loss_cls"]["type"] for _, head in classifying_heads(run.config.model)]
    assert losses == ["RankSortLoss"] * 4
    assert run.record["loss"] == "exact"
    assert default_work_dir("brs-x", "exact") == Path("work_dirs/brs-x_exact")
    assert default_finetune_dir("traffic", "r18", "bap") == Path("work_dirs/traffic_r18_bap")


def test_a_run_that_is_resumed_keeps_its_loss(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    run = train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=1, loss="exact", console=QUIET)
    resumed = resolve(Request(str(tiny_config), shapes, run.work_dir, resume=True, epochs=2), QUIET)
    assert {head["loss_cls"]["type"] for _, head in classifying_heads(resumed.config.model)} == {"RankSortLoss"}


def test_heads_with_different_losses_are_warned_of(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    told = Console(file=(text := io.StringIO()), width=500)
    changed = ("model.atss_head.loss_cls.delta=0.1",)
    resolve(Request(str(tiny_config), shapes, tmp_path / "run", overrides=changed), told)
    assert "the heads have different losses" in text.getvalue() and "delta 0.1" in text.getvalue()


def test_schedule_is_stretched() -> None:
    config = Config(
        {
            "train_cfg": {"max_epochs": 12},
            "param_scheduler": [
                {"type": "LinearLR", "by_epoch": False, "begin": 0, "end": 500},
                {"type": "MultiStepLR", "by_epoch": True, "begin": 0, "end": 12, "milestones": [10, 11], "gamma": 0.2},
            ],
        }
    )
    set_epochs(config, 36)
    warm_up, steps = config.param_scheduler
    assert config.train_cfg.max_epochs == 36
    assert (steps.begin, steps.end, steps.milestones, steps.gamma) == (0, 36, [30, 33], 0.2)
    assert (warm_up.begin, warm_up.end) == (0, 500)


def test_no_schedule() -> None:
    config = Config({"train_cfg": {"max_epochs": 12}})
    set_epochs(config, 1)
    assert config.train_cfg.max_epochs == 1
