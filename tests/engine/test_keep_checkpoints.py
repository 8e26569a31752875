from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine import Config

from brs_detr.engine.keep_checkpoints import KeepLastAndBest


@pytest.fixture
def runner(tmp_path: Path) -> SimpleNamespace:
    """As much of a Runner as `best.pth` is made of."""
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo={"classes": ("cat", "dog")}))
    return SimpleNamespace(
        work_dir=str(tmp_path),
        model=torch.nn.Linear(1, 1),
        cfg=Config({"model": {"type": "X"}}),
        train_dataloader=loader,
        epoch=1,
        iter=0,
        seed=3,
    )


def saved(runner: SimpleNamespace) -> dict:
    return torch.load(Path(runner.work_dir) / "best.pth", weights_only=True)


def test_only_a_better_ap_is_kept(runner: SimpleNamespace) -> None:
    keeper = KeepLastAndBest()
    for epoch, ap in enumerate([0.2, 0.5, 0.5, 0.3], start=1):
        runner.epoch = epoch
        with torch.no_grad():
            runner.model.weight.fill_(epoch)
        keeper.after_val_epoch(runner, {"coco/AP": ap})
    assert saved(runner)["meta"]["epoch"] == 2
    assert saved(runner)["state_dict"]["weight"].item() == 2
    assert saved(runner)["meta"]["metrics"] == {"coco/AP": 0.5}
    assert saved(runner)["meta"]["dataset_meta"] == {"classes": ["cat", "dog"]}
    assert [path.name for path in Path(runner.work_dir).iterdir()] == ["best.pth"]


def test_resumed_run_does_not_replace_a_better_one(runner: SimpleNamespace) -> None:
    KeepLastAndBest().after_val_epoch(runner, {"coco/AP": 0.5})
    runner.iter = 10
    resumed = KeepLastAndBest()
    resumed.before_train(runner)
    resumed.after_val_epoch(runner, {"coco/AP": 0.4})
    assert saved(runner)["meta"]["metrics"] == {"coco/AP": 0.5}


def test_evaluation_without_the_metric(runner: SimpleNamespace) -> None:
    KeepLastAndBest().after_val_epoch(runner, {"other": 1.0})
    assert not (Path(runner.work_dir) / "best.pth").exists()


def test_failing_write_keeps_the_old_file(runner: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = KeepLastAndBest()
    keeper.after_val_epoch(runner, {"coco/AP": 0.5})

    def disk_full(content: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space"):
        keeper.after_val_epoch(runner, {"coco/AP": 0.6})
    assert saved(runner)["meta"]["metrics"] == {"coco/AP": 0.5}
