"""The checkpoints of a run: the last, the best, and the one to resume from."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_up_detections import random_case
from mmengine import Config
from mmengine.runner import Runner
from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.evaluation.coco_metric import CocoAPMetric
from brs_detr.run.run_folder import RunFolder
from brs_detr.runtime.calibration import Calibration
from brs_detr.training import checkpoints
from brs_detr.training.checkpoints import KeepLastAndBest, checkpoint_to_resume, is_whole, set_damaged_aside
from brs_detr.training.train import train


@pytest.fixture
def runner(tmp_path: Path) -> SimpleNamespace:
    """The parts of a Runner that `best.pth` is made of."""
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo={"classes": ("cat", "dog")}))
    return SimpleNamespace(
        work_dir=str(tmp_path),
        model=torch.nn.Linear(1, 1),
        cfg=Config({"model": {"type": "X"}}),
        train_dataloader=loader,
        epoch=1,
        iter=0,
        seed=3,
        call_hook=lambda name, checkpoint: None,
        val_loop=SimpleNamespace(evaluator=SimpleNamespace(metrics=[SimpleNamespace(predictions=[{"score": 0.5}])])),
    )


def test_what_scores_mean_is_kept_with_the_best_weights(runner: SimpleNamespace, tmp_path: Path) -> None:
    dataset, results = random_case(0, num_classes=2)
    (tmp_path / "val.json").write_text(json.dumps(dataset))
    metric = CocoAPMetric(str(tmp_path / "val.json"))
    metric.dataset_meta = {"classes": ("class 2", "class 1")}  # labels are not in the order of the categories
    metric.compute_metrics([results])
    runner.train_dataloader.dataset.metainfo = metric.dataset_meta
    runner.val_loop.evaluator.metrics = [metric]
    KeepLastAndBest().after_val_epoch(runner, {"coco/AP": 0.5})
    calibration = Calibration.from_json(saved(runner)["meta"]["calibrations"]["detector"], 2)
    per_category = np.bincount([entry["category_id"] for entry in results], minlength=3)
    assert calibration.num_images == 12
    assert calibration.num_detections[0] <= per_category[2] and calibration.num_detections[1] <= per_category[1]
    matching, labels = metric.result.matching, 1 - metric.result.matching.detection_classes
    promised = calibration.score_map(matching.scores, labels)
    assert promised.mean() == pytest.approx(matching.is_true.mean(), abs=0.05)


def saved(runner: SimpleNamespace) -> dict:
    return torch.load(RunFolder(Path(runner.work_dir)).best, weights_only=True)


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
    assert json.loads(RunFolder(Path(runner.work_dir)).predictions.read_text()) == [{"score": 0.5}]
    files = sorted(path.relative_to(runner.work_dir).as_posix() for path in Path(runner.work_dir).rglob("*.*"))
    assert files == ["checkpoints/best.pth", "predictions.json"]


@pytest.mark.fault("Checkpoints", "a resumed run has a lower AP than before", "`best.pth` is kept")
def test_resumed_run_does_not_replace_a_better_one(runner: SimpleNamespace) -> None:
    KeepLastAndBest().after_val_epoch(runner, {"coco/AP": 0.5})
    runner.iter, runner.epoch = 10, 2
    resumed = KeepLastAndBest()
    resumed.before_train(runner)
    resumed.after_val_epoch(runner, {"coco/AP": 0.4})
    assert saved(runner)["meta"]["metrics"] == {"coco/AP": 0.5}


def test_evaluation_without_the_metric(runner: SimpleNamespace) -> None:
    KeepLastAndBest().after_val_epoch(runner, {"other": 1.0})
    assert not RunFolder(Path(runner.work_dir)).best.exists()


@pytest.mark.fault("Checkpoints", "the disk is full while `best.pth` is written", "the older one is kept")
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


def test_the_weights_that_were_evaluated_are_kept(runner: SimpleNamespace) -> None:
    """After an evaluation, mmengine swaps the moving average out of the model, and adds it to checkpoints itself."""

    def put_mean(name: str, checkpoint: dict) -> None:
        assert name == "before_save_checkpoint"
        checkpoint["ema_state_dict"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = {"weight": torch.full((1, 1), 7.0)}

    runner.call_hook = put_mean
    KeepLastAndBest().after_val_epoch(runner, {"coco/AP": 0.5})
    assert saved(runner)["state_dict"] == {"weight": torch.full((1, 1), 7.0)}
    assert saved(runner).keys() == {"meta", "state_dict"}


QUIET = Console(quiet=True)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    for path in (folder.last, folder.previous):
        torch.save({"weights": torch.randn(1000), "meta": {}}, path)
    return folder


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("size", [0, 10, 1000, 4000])
@pytest.mark.fault("Checkpoints", "a truncated checkpoint", "recognised by its checksums")
def test_a_file_that_was_cut_is_not_whole(run: RunFolder, size: int) -> None:
    assert is_whole(run.last)
    run.last.write_bytes(run.last.read_bytes()[:size])
    assert not is_whole(run.last)


@pytest.mark.fault(
    "Checkpoints",
    "one wrong bit in `last.pth`",
    "reported; `--resume` continues from `previous.pth` and keeps the damaged file under another name",
)
@pytest.mark.fault(
    "Checkpoints",
    "both `last.pth` and `previous.pth` are damaged",
    "refused; the message suggests to start from `best.pth`",
)
def test_one_wrong_bit_sends_back_to_the_checkpoint_before(run: RunFolder) -> None:
    assert checkpoint_to_resume(run, QUIET) == run.last
    flip_a_bit(run.last)
    console = Console(file=io.StringIO(), width=500)
    assert checkpoint_to_resume(run, console) == run.previous
    assert "last.pth is damaged; going on from previous.pth" in console.file.getvalue()
    set_damaged_aside(run)
    assert run.can_resume and not run.last.exists() and run.last.with_name("last.pth.damaged").exists()
    assert checkpoint_to_resume(run, QUIET) == run.previous
    flip_a_bit(run.previous)
    with pytest.raises(UserError, match="are damaged"):
        checkpoint_to_resume(run, QUIET)


@pytest.mark.fault(
    "Checkpoints",
    "a run resumed from `previous.pth`",
    "ends with the same weights as an undamaged run",
)
def test_a_training_goes_on_from_the_checkpoint_before(tiny_config, shapes, tmp_path) -> None:
    """After three epochs, the last checkpoint is damaged; resuming from the previous one gives the same weights."""
    first = train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=3, console=QUIET)
    expected = weights(first.last_checkpoint)
    folder = RunFolder(tmp_path / "run")
    assert torch.load(folder.previous, weights_only=True)["meta"]["epoch"] == 2
    flip_a_bit(folder.last)
    second = train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=3, resume=True, console=QUIET)
    found = weights(second.last_checkpoint)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert is_whole(folder.previous) and is_whole(folder.last)
    assert folder.last.with_name("last.pth.damaged").exists()


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.fault(
    "Checkpoints",
    "the disk is full while a checkpoint is written",
    "training stops with a message; earlier checkpoints stay intact, also on file systems without hard links",
)
def test_a_full_disk_keeps_what_was_saved(tiny_config, shapes, tmp_path, monkeypatch, links) -> None:
    original = Runner.save_checkpoint

    def save(self, out_dir, filename, *args, **kwargs):
        if self.epoch == 2:
            Path(out_dir, filename).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, out_dir, filename, *args, **kwargs)

    monkeypatch.setattr(Runner, "save_checkpoint", save)
    if not links:
        monkeypatch.setattr(checkpoints.os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    with pytest.raises(UserError, match=r"cannot be written: No space left on device\. .*last.pth is the last one"):
        train(tiny_config, shapes, tmp_path / "run", seed=1, epochs=4, console=QUIET)
    folder = RunFolder(tmp_path / "run")
    epochs = [torch.load(path, weights_only=True)["meta"]["epoch"] for path in (folder.previous, folder.last)]
    assert epochs == [1, 2]
    assert not list(folder.last.parent.glob("*.partial"))
