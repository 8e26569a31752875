from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.runner import EpochBasedTrainLoop
from rich.console import Console

from brs_detr.engine.seed_epochs import draw_anew_each_epoch
from brs_detr.engine.train import TrainedRun, train

QUIET = Console(quiet=True)


def weights(run: TrainedRun) -> dict[str, torch.Tensor]:
    return torch.load(run.last_checkpoint, weights_only=True)["state_dict"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_resumed_ends_with_the_same_weights(
    workers: int, tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Augmentation, sampling and shuffling draw the same numbers, whichever process draws them."""
    overrides = [f"train_dataloader.num_workers={workers}"]
    whole = train(tiny_config, shapes, tmp_path / "whole", seed=5, epochs=2, overrides=overrides, console=QUIET)
    run_epoch = EpochBasedTrainLoop.run_epoch

    def interrupt(self: EpochBasedTrainLoop) -> None:
        if self.epoch == 1:
            raise KeyboardInterrupt
        run_epoch(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EpochBasedTrainLoop, "run_epoch", interrupt)
        train(tiny_config, shapes, tmp_path / "halves", seed=5, epochs=2, overrides=overrides, console=QUIET)
    resumed = train(tiny_config, shapes, tmp_path / "halves", resume=True, epochs=2, overrides=overrides, console=QUIET)
    first, second = weights(whole), weights(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_epochs_differ(tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine seeds workers with the same number in every epoch."""
    drawn: list[float] = []
    run_epoch = EpochBasedTrainLoop.run_epoch

    def draw(self: EpochBasedTrainLoop) -> None:
        run_epoch(self)
        drawn.append(torch.rand(()).item())

    monkeypatch.setattr(EpochBasedTrainLoop, "run_epoch", draw)
    train(tiny_config, shapes, tmp_path / "run", seed=5, epochs=2, console=QUIET)
    assert len(set(drawn)) == 2


def test_the_config_of_a_run_can_be_trained_again() -> None:
    config = Config({"train_dataloader": {"persistent_workers": True}})
    for _ in range(2):
        draw_anew_each_epoch(config)
    assert config.custom_hooks == [{"type": "SeedEpochs"}]
    assert config.train_dataloader == {"persistent_workers": False, "worker_init_fn": {"type": "keep_seeds"}}
