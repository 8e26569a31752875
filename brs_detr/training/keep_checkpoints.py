"""Keep two checkpoints of a run: the last one, to resume from, and the best one, to use."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

import brs_detr
from brs_detr.checkpoints.checkpoint import head_of
from brs_detr.checkpoints.checkpoint_meta import CALIBRATIONS
from brs_detr.errors import UserError
from brs_detr.evaluation.coco_metric import CocoAPMetric
from brs_detr.evaluation.learn_calibration import learn_calibration
from brs_detr.heads.ranking import RankingLossMixin
from brs_detr.heads.ranking_memory import RankingMemory
from brs_detr.run.run_folder import RunFolder, write_whole
from brs_detr.runtime.calibration import Calibration

MEMORIES = "ranking_memories"
"""Key of what the ranking losses of each process remember of earlier batches, in the metadata of `last.pth`."""


class KeepLastAndBest(Hook):
    """Write `last.pth` after each epoch, and within it when the loop says so; `best.pth` after each evaluation that
    beats all before it.

    `last.pth` holds optimizer and schedules too; the one before it stays as `previous.pth`. `best.pth` holds the
    weights that were evaluated (their moving mean, where the run keeps one), class names, config and metrics, all plain
    values, so that it is small and can be read without running code. What the best weights found goes to
    `predictions.json`, and what their scores mean into `best.pth`. Files appear complete or not at all.

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
        path = RunFolder(Path(runner.work_dir)).best
        if runner.iter > 0 and path.is_file():
            meta = torch.load(path, map_location="cpu", weights_only=True)["meta"]
            self.best, self.best_epoch = meta["metrics"][self.monitor], meta["epoch"]

    def after_train_epoch(self, runner: Runner) -> None:
        """Save everything that resuming needs.

        Raises:
            UserError: it cannot be written; what was saved before stays.
        """
        self._save_last(runner, num_epochs=runner.epoch + 1)

    def save_within_epoch(self, runner: Runner) -> None:
        """Save everything that resuming needs, between two steps.

        Raises:
            UserError: it cannot be written; what was saved before stays.
        """
        self._save_last(runner, num_epochs=runner.epoch)

    def _save_last(self, runner: Runner, num_epochs: int) -> None:
        memories = _all_memories(runner.model)
        if not is_main_process():
            _give_shares(runner)
            return
        folder = RunFolder(Path(runner.work_dir))
        partial = folder.last.with_name(f".{folder.last.name}.partial")
        meta = {"epoch": num_epochs, "iter": runner.iter, MEMORIES: memories}
        with _cleared_on_failure(partial, folder.last):
            runner.save_checkpoint(str(partial.parent), partial.name, meta=meta)
        if folder.last.exists():
            _give_second_name(folder.last, folder.previous)
        partial.replace(folder.last)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Give ranking losses back what they remembered, if there are as many processes as there were."""
        memories = checkpoint.get("meta", {}).get(MEMORIES) or []
        if len(memories) == get_world_size():
            for memory, content in zip(_memories(runner.model), memories[get_rank()], strict=True):
                memory.restore(content)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Save the weights if they are the best so far, or those that were the best before the run was resumed."""
        value = (metrics or {}).get(self.monitor)
        if value is not None and (value > self.best or runner.epoch == self.best_epoch):
            self.best, self.best_epoch = value, runner.epoch
            if is_main_process():
                self._save_best(runner, metrics or {})
            elif runner.is_sharded:
                runner.model.state_dict()

    def _save_best(self, runner: Runner, metrics: dict[str, float]) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        checkpoint: dict[str, Any] = {"state_dict": model.state_dict()}
        runner.call_hook("before_save_checkpoint", checkpoint=checkpoint)  # puts the moving mean there, if there is one
        weights = {key: value.cpu() for key, value in checkpoint["state_dict"].items()}
        folder = RunFolder(Path(runner.work_dir))
        folder.best.parent.mkdir(exist_ok=True)
        partial = folder.best.with_name(f".{folder.best.name}.partial")
        torch.save({"meta": self._meta(runner, metrics), "state_dict": weights}, partial)
        partial.replace(folder.best)
        write_whole(folder.predictions, json.dumps(_predictions(runner), separators=(",", ":")) + "\n")

    def _meta(self, runner: Runner, metrics: dict[str, float]) -> dict[str, Any]:
        class_names = tuple(runner.train_dataloader.dataset.metainfo["classes"])
        calibration = _calibration(runner, class_names)
        return {
            **({CALIBRATIONS: {head_of(runner.cfg): calibration.to_json()}} if calibration else {}),
            "cfg": runner.cfg.pretty_text,
            "dataset_meta": {"classes": list(class_names)},
            "epoch": runner.epoch,
            "iter": runner.iter,
            "seed": runner.seed,
            "metrics": {key: float(value) for key, value in metrics.items()},
            "brs_detr_version": brs_detr.__version__,
        }


@contextmanager
def _cleared_on_failure(partial: Path, last: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        partial.unlink(missing_ok=True)
        kept = f"{last} is the last one that was" if last.exists() else "Nothing was saved before"
        raise UserError(
            f"The checkpoint cannot be written: {error.strerror or error}. {kept}.",
            "Make room on the disk, then go on with --resume.",
        ) from error


def _give_shares(runner: Runner) -> None:
    """Take part in the gathering of a model that is shared out, which the first process saves."""
    if runner.is_sharded:
        runner.model.state_dict()
        runner.optim_wrapper.state_dict()


def _memories(model: nn.Module) -> list[RankingMemory]:
    heads = (module for module in model.modules() if isinstance(module, RankingLossMixin))
    return [head.memory for head in heads if head.memory.num_batches]


def _all_memories(model: nn.Module) -> list[list[dict[str, Any]]]:
    """What the ranking losses of every process remember."""
    own = [memory.content() for memory in _memories(model)]
    return all_gather_object(own) if own else []


def _give_second_name(path: Path, second: Path) -> None:
    """Let a file have two names, the second instead of whatever had it; at no time is the first gone."""
    partial = second.with_name(f".{second.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:  # a file system without links
        shutil.copyfile(path, partial)
    partial.replace(second)


def _predictions(runner: Runner) -> list[dict[str, Any]]:
    """COCO results of the evaluation that has just ended; none where the metric keeps none."""
    metrics = runner.val_loop.evaluator.metrics
    return next((metric.predictions for metric in metrics if hasattr(metric, "predictions")), [])


def _calibration(runner: Runner, class_names: tuple[str, ...]) -> Calibration | None:
    """What the scores of these weights mean; None where the metric cannot tell, or nothing is right."""
    for metric in runner.val_loop.evaluator.metrics:
        if isinstance(metric, CocoAPMetric) and metric.result is not None:
            learnt = learn_calibration(metric.result.matching, metric.dataset, class_names)
            return learnt[0] if learnt else None
    return None
