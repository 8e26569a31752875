from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine import Config
from rich.console import Console

from brs_detr.training.seeds import draw_by_place
from brs_detr.training.train import TrainedRun, train
from brs_detr.training.train_loop import TrainLoop

QUIET = Console(quiet=True)


def weights(run: TrainedRun) -> dict[str, torch.Tensor]:
    return torch.load(run.last_checkpoint, weights_only=True)["state_dict"]


@pytest.mark.fault(
    "Interruptions",
    "another number of processes that load images",
    "the same images, augmented in the same way, bit for bit",
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
        draw_by_place(config)
    assert config.custom_hooks == [{"type": "SeedSteps"}]
    assert config.train_dataloader == {"persistent_workers": False}
