from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from brs_detr.training.deterministic import deterministic
from brs_detr.training.train import train
from brs_detr.training.train_loop import TrainLoop


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
    """Twice the same bits, on a GPU where there is one."""
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
