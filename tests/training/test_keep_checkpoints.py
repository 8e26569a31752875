from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_up_detections import random_case
from mmengine import Config

from brs_detr.evaluation.coco_metric import CocoAPMetric
from brs_detr.run.run_folder import RunFolder
from brs_detr.runtime.calibration import Calibration
from brs_detr.training.keep_checkpoints import KeepLastAndBest


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


@pytest.mark.fault("Checkpoints", "a run that goes on finds less than before", "`best.pth` stays")
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


@pytest.mark.fault("Checkpoints", "the disk is full while `best.pth` is written", "the older one stays")
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
    """mmengine's moving mean has left the model again when an evaluation ends; it hands itself to what is saved."""

    def put_mean(name: str, checkpoint: dict) -> None:
        assert name == "before_save_checkpoint"
        checkpoint["ema_state_dict"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = {"weight": torch.full((1, 1), 7.0)}

    runner.call_hook = put_mean
    KeepLastAndBest().after_val_epoch(runner, {"coco/AP": 0.5})
    assert saved(runner)["state_dict"] == {"weight": torch.full((1, 1), 7.0)}
    assert saved(runner).keys() == {"meta", "state_dict"}
