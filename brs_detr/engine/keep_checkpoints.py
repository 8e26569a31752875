"""Keep two checkpoints of a run: the last one, to resume from, and the best one, to use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

import brs_detr

LAST = "last.pth"
BEST = "best.pth"


class KeepLastAndBest(Hook):
    """Write `last.pth` after each epoch and `best.pth` after each evaluation that beats all before it.

    `last.pth` holds optimizer and schedules too. `best.pth` holds weights, class names, config and metrics, all plain
    values, so that it is small and can be read without running code. Files appear complete or not at all.

    Args:
        monitor: the metric to keep the best of; larger is better.
    """

    priority = "VERY_LOW"

    def __init__(self, monitor: str = "coco/AP") -> None:
        self.monitor = monitor
        self.best = -float("inf")
        self.best_epoch = 0

    def before_train(self, runner: Runner) -> None:
        """Take up the record of the run that is resumed."""
        path = Path(runner.work_dir) / BEST
        if runner.iter > 0 and path.is_file():
            meta = torch.load(path, map_location="cpu", weights_only=True)["meta"]
            self.best, self.best_epoch = meta["metrics"][self.monitor], meta["epoch"]

    def after_train_epoch(self, runner: Runner) -> None:
        """Save everything that resuming needs."""
        if is_main_process():
            partial = f".{LAST}.partial"
            runner.save_checkpoint(runner.work_dir, partial, by_epoch=True)
            Path(runner.work_dir, partial).replace(Path(runner.work_dir, LAST))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Save the weights if they are the best so far."""
        value = (metrics or {}).get(self.monitor)
        if value is not None and value > self.best:
            self.best, self.best_epoch = value, runner.epoch
            self._save_best(runner, metrics or {})

    @master_only
    def _save_best(self, runner: Runner, metrics: dict[str, float]) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        weights = {key: value.cpu() for key, value in model.state_dict().items()}
        path = Path(runner.work_dir, BEST)
        partial = path.with_name(f".{BEST}.partial")
        torch.save({"meta": self._meta(runner, metrics), "state_dict": weights}, partial)
        partial.replace(path)

    def _meta(self, runner: Runner, metrics: dict[str, float]) -> dict[str, Any]:
        return {
            "cfg": runner.cfg.pretty_text,
            "dataset_meta": {"classes": list(runner.train_dataloader.dataset.metainfo["classes"])},
            "epoch": runner.epoch,
            "iter": runner.iter,
            "seed": runner.seed,
            "metrics": {key: float(value) for key, value in metrics.items()},
            "brs_detr_version": brs_detr.__version__,
        }
