from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine import Config
from rich.console import Console

from brs_detr.training.resolve import seed_by_step
from brs_detr.training.seeds import deterministic
from brs_detr.training.train import TrainedRun, train
from brs_detr.training.train_loop import TrainLoop

QUIET = Console(quiet=True)


def weights(run: TrainedRun) -> dict[str, torch.Tensor]:
    return torch.load(run.last_checkpoint, weights_only=True)["state_dict"]


@pytest.mark.fault(
    "Interruptions",
    "another number of data loader processes",
    "the same images with the same augmentation, bit for bit",
)
def test_any_number_of_workers_reads_the_same(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    runs = [
        train(
            tiny_config,
            shapes,
            tmp_path / str(workers),
            seed=5,
            epochs=1,
            overrides=[f"train_dataloader.num_workers={workers}"],
            console=QUIET,
        )
        for workers in (0, 2)
    ]
    first, second = map(weights, runs)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_steps_and_pictures_differ(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mmengine seeds workers with the same number in every epoch."""
    drawn: list[float] = []
    read: list[dict[int, torch.Tensor]] = [{}, {}]
    run_iter = TrainLoop.run_iter

    def draw(self: TrainLoop, index: int, batch: dict) -> None:
        for picture, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
            read[self.epoch][sample.img_id] = picture
        run_iter(self, index, batch)
        drawn.append(torch.rand(()).item())

    monkeypatch.setattr(TrainLoop, "run_iter", draw)
    train(tiny_config, shapes, tmp_path / "run", seed=5, epochs=2, console=QUIET)
    assert len(set(drawn)) == len(drawn) == 6
    is_same = [torch.equal(picture, read[1][number]) for number, picture in read[0].items()]
    assert 0 < sum(is_same) < len(is_same)  # half of them are flipped


def test_the_config_of_a_run_can_be_trained_again() -> None:
    config = Config({"train_dataloader": {"persistent_workers": True}})
    for _ in range(2):
        seed_by_step(config)
    assert config.custom_hooks == [{"type": "SeedSteps"}]
    assert config.train_dataloader == {"persistent_workers": False}


def test_the_mode_is_left_as_it_was() -> None:
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(ValueError, match="as it may"), deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
        raise ValueError("as it may")
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_a_training_is_in_the_mode_and_says_so(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs are equal bit for bit, also on a GPU if there is one."""
    modes: list[bool] = []
    run_iter = TrainLoop.run_iter

    def look(self: TrainLoop, *arguments: object) -> None:
        modes.append(torch.are_deterministic_algorithms_enabled())
        run_iter(self, *arguments)

    monkeypatch.setattr(TrainLoop, "run_iter", look)
    runs = [
        train(tiny_config, shapes, tmp_path / name, seed=1, deterministic=True, epochs=1, console=Console(quiet=True))
        for name in "ab"
    ]
    assert modes == [True] * 6
    assert json.loads((runs[0].work_dir / "run.json").read_text())["deterministic"]
    first, second = (torch.load(run.last_checkpoint, weights_only=True)["state_dict"] for run in runs)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
