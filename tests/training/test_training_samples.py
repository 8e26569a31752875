"""Images that cannot be read while a training is at it, and processes that are killed while they read."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from mmengine import fileio
from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import TrainedRun, train


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch):
    """Make files vanish, in processes that load data too."""
    get = fileio.get

    def begin(*names: str) -> None:
        def get_or_lose(path: str, *arguments: Any) -> bytes:
            if path.endswith(names):
                raise FileNotFoundError
            return get(path, *arguments)

        monkeypatch.setattr(fileio, "get", get_or_lose)

    return begin


def run_on(config: Path, data: Path, folder: Path, *overrides: str) -> tuple[TrainedRun, str]:
    console = Console(file=(text := io.StringIO()), width=500)
    return train(config, data, folder, seed=1, epochs=2, overrides=overrides, console=console), text.getvalue()


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.fault(
    "Images and annotations",
    "an image that cannot be read while a training is at it",
    "named once, counted in `run.json`; another one takes its place",
)
def test_another_image_takes_its_place(num_workers: int, lose, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    lose("train/000002.jpg")
    run, said = run_on(tiny_config, shapes, tmp_path / "run", f"train_dataloader.num_workers={num_workers}")
    assert said.count("000002.jpg: there is no such file. Another image takes its place.") == 1
    assert "000002.jpg" in (run.work_dir / "train.log").read_text()
    assert RunFolder(run.work_dir).record.read_text().count('"unreadable_images": 1') == 1


@pytest.mark.fault(
    "Images and annotations",
    "more than one in a hundred cannot be read",
    "the training stops and names them; `train_cfg.max_unreadable` is the limit",
)
def test_many_stop_the_training(lose, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    lose("train/000002.jpg", "train/000003.jpg")
    with pytest.raises(UserError, match=r"2 of 6 images cannot be read\. .*000002.* .*000003.*\n.*brs-detr check"):
        run_on(tiny_config, shapes, tmp_path / "strict")
    run, said = run_on(tiny_config, shapes, tmp_path / "lax", "train_cfg.max_unreadable=0.5")
    assert said.count("Another image takes its place") == 2


@pytest.mark.fault("Images and annotations", "the folder of the images is gone", "a clear stop after ten tries")
def test_a_folder_that_is_gone_ends_it_at_once(lose, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    lose(*(f"train/{path.name}" for path in (shapes / "train").iterdir()))
    with pytest.raises(UserError, match="10 images, one drawn after the other, cannot be read"):
        run_on(tiny_config, shapes, tmp_path / "run")


@pytest.mark.fault(
    "Interruptions",
    "Linux kills a process that loads images, for want of memory",
    "a clear stop that says what to do; `--resume` goes on",
)
def test_a_process_that_is_killed_while_it_loads(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = os.getpid()

    def die(*arguments: Any) -> None:
        assert os.getpid() != parent
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(fileio, "get", die)
    with pytest.raises(UserError, match="A process that loads images was ended from outside"):
        run_on(tiny_config, shapes, tmp_path / "run", "train_dataloader.num_workers=1")
