"""Keep the last checkpoint of a run, to resume from, and the best one, to use; find the one to resume from."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from rich.console import Console
from torch import nn

import brs_detr
from brs_detr.checkpoints.checkpoint import head_of
from brs_detr.checkpoints.plain_file import CALIBRATIONS, load_plain
from brs_detr.checkpoints.stored_config import require_harmless
from brs_detr.errors import UserError
from brs_detr.evaluation.calibrate import learn_calibration
from brs_detr.evaluation.coco_metric import CocoAPMetric
from brs_detr.files import write_whole, written_whole
from brs_detr.heads.ranking_batch import RankingMemory
from brs_detr.run.distributed import is_first
from brs_detr.run.run_folder import RunFolder
from brs_detr.runtime.calibration import Calibration

MEMORIES = "ranking_memories"
"""Key in the metadata of `last.pth` of what the ranking losses of each process remember of earlier batches."""
DAMAGED = ".damaged"


class KeepLastAndBest(Hook):
    """Write `last.pth` after each epoch, and within it when the loop asks; `best.pth` after each new best evaluation.

    `last.pth` holds optimizer and schedules too; the one before it stays as `previous.pth`. `best.pth` holds the
    evaluated weights (their moving mean, where the run keeps one), class names, config, metrics and calibration, all
    plain values, so that it is small and can be read without running code. The predictions of the best weights go to
    `predictions.json`. Files appear complete or not at all.

    Args:
        monitor: the metric that decides; larger is better.
    """

    priority = "VERY_LOW"

    def __init__(self, monitor: str = "coco/AP") -> None:
        self.monitor = monitor
        self.best = -float("inf")
        self.best_epoch = 0

    def before_train(self, runner: Runner) -> None:
        """Continue from the best of the run that is resumed."""
        path = RunFolder(Path(runner.work_dir)).best
        if runner.iter > 0 and path.is_file():
            meta = torch.load(path, map_location="cpu", weights_only=True)["meta"]
            self.best, self.best_epoch = meta["metrics"][self.monitor], meta["epoch"]

    def after_train_epoch(self, runner: Runner) -> None:
        """Write `last.pth`."""
        self._save_last(runner, num_epochs=runner.epoch + 1)

    def save_within_epoch(self, runner: Runner) -> None:
        """Write `last.pth` between two steps."""
        self._save_last(runner, num_epochs=runner.epoch)

    def _save_last(self, runner: Runner, num_epochs: int) -> None:
        memories = _all_memories(runner.model)
        if not is_main_process():
            if runner.is_sharded:  # take part in gathering the shards, which the first process saves
                runner.model.state_dict()
                runner.optim_wrapper.state_dict()
            return
        folder = RunFolder(Path(runner.work_dir))
        meta = {"epoch": num_epochs, "iter": runner.iter, MEMORIES: memories}
        try:
            with written_whole(folder.last) as partial:
                runner.save_checkpoint(str(partial.parent), partial.name, meta=meta)
                if folder.last.exists():
                    _give_second_name(folder.last, folder.previous)
        except OSError as error:
            kept = f"{folder.last} is the last one that was" if folder.last.exists() else "Nothing was saved before"
            raise UserError(
                f"The checkpoint cannot be written: {error.strerror or error}. {kept}.",
                "Make room on the disk, then continue with --resume.",
            ) from error

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore what the optimizer and, if there are as many processes again, the ranking losses remembered."""
        follow_parameters(checkpoint, unwrapped(runner.model))
        memories = checkpoint.get("meta", {}).get(MEMORIES) or []
        if len(memories) == get_world_size():
            for memory, content in zip(_memories(runner.model), memories[get_rank()], strict=True):
                memory.restore(content)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write `best.pth` if the weights are the best so far, or were the best before the run was resumed."""
        value = (metrics or {}).get(self.monitor)
        if value is not None and (value > self.best or runner.epoch == self.best_epoch):
            self.best, self.best_epoch = value, runner.epoch
            if is_main_process():
                self._save_best(runner, metrics or {})
            elif runner.is_sharded:
                runner.model.state_dict()

    def _save_best(self, runner: Runner, metrics: dict[str, float]) -> None:
        model = unwrapped(runner.model)
        checkpoint: dict[str, Any] = {"state_dict": model.state_dict()}
        runner.call_hook("before_save_checkpoint", checkpoint=checkpoint)  # puts a moving mean there
        weights = {key: value.cpu() for key, value in checkpoint["state_dict"].items()}
        folder = RunFolder(Path(runner.work_dir))
        with written_whole(folder.best) as partial:
            torch.save({"meta": self._meta(runner, metrics), "state_dict": weights}, partial)
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


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, where several processes train it."""
    return model.module if is_model_wrapper(model) else model  # type: ignore[return-value]


def follow_parameters(checkpoint: dict[str, Any], model: nn.Module) -> None:
    """Put what is stored for each parameter in the order of the model's parameters, in place.

    Optimizers store their state by position. The order differs in checkpoints of older models, whose parts had other
    names.
    """
    if not hasattr(model, "own_names") or "optimizer" not in checkpoint:
        return
    now = [name for name, _ in model.named_parameters()]
    stored = [name for name in model.own_names(checkpoint["state_dict"]) if name in set(now)]  # type: ignore[operator]
    groups = checkpoint["optimizer"]["param_groups"]
    if stored == now or sorted(stored) != sorted(now):
        return
    position = {name: index for index, name in enumerate(stored)}
    order = [position[name] for name in now]
    if len(groups) == 1:
        groups[0]["params"] = [groups[0]["params"][index] for index in order]
        return
    checkpoint["optimizer"]["param_groups"] = [groups[index] for index in order]
    for scheduler in checkpoint.get("param_schedulers") or []:
        for key in ("base_values", "_last_value"):
            scheduler[key] = [scheduler[key][index] for index in order]


def _memories(model: nn.Module) -> list[RankingMemory]:
    memories = (getattr(module, "memory", None) for module in model.modules())
    return [memory for memory in memories if isinstance(memory, RankingMemory) and memory.num_batches]


def _all_memories(model: nn.Module) -> list[list[dict[str, Any]]]:
    """Of every process."""
    own = [memory.content() for memory in _memories(model)]
    return all_gather_object(own) if own else []


def _give_second_name(path: Path, second: Path) -> None:
    """Give a file a second name, taken from whatever had it; the first name is there all the time."""
    with written_whole(second) as partial:
        try:
            os.link(path, partial)
        except OSError:  # a file system without links
            shutil.copyfile(path, partial)


def _predictions(runner: Runner) -> list[dict[str, Any]]:
    """COCO results of the evaluation that has just ended, where the metric keeps them."""
    metrics = runner.val_loop.evaluator.metrics
    return next((metric.predictions for metric in metrics if hasattr(metric, "predictions")), [])


def _calibration(runner: Runner, class_names: tuple[str, ...]) -> Calibration | None:
    """Calibration of these weights; None where the metric cannot tell, or no detection is right."""
    for metric in runner.val_loop.evaluator.metrics:
        if isinstance(metric, CocoAPMetric) and metric.result is not None:
            learnt = learn_calibration(metric.result.matching, metric.dataset, class_names)
            return learnt[0] if learnt else None
    return None


def is_whole(path: Path) -> bool:
    """Whether every byte of a checkpoint is as it was written, by the checksums that PyTorch's format carries."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # Python's reader meets damaged bytes with exceptions of any kind
        return False


def require_resumable(run: RunFolder) -> None:
    """Refuse to resume a run that has neither a last checkpoint nor the one before.

    Raises:
        UserError: it has none.
    """
    if not run.can_resume:
        raise UserError(
            f"There is nothing to resume: no {run.last.name} in {run.last.parent}.", "Start without --resume."
        )


def checkpoint_to_resume(run: RunFolder, console: Console, trust_file: bool = False) -> Path:
    """The last checkpoint; the one before where that is damaged, which is printed.

    Args:
        run: folder of the run.
        console: where to print.
        trust_file: accept a checkpoint whose config names what could run code.

    Raises:
        UserError: there is none, both are damaged, or the config names what could run code.
    """
    require_resumable(run)
    path = run.last
    if not is_whole(path):
        path = run.previous
        if not is_whole(path):
            raise UserError(
                f"The checkpoints in {run.last.parent} are damaged.",
                f"{run.best.name} holds weights to start from anew: --set load_from={run.best}"
                if run.best.exists()
                else "Start without --resume.",
            )
        if is_first():
            console.print(f"{run.last} is damaged; going on from {path.name}, the one before.", markup=False)
    if not trust_file:
        content = load_plain(path, with_values=False)
        meta = content.get("meta") if isinstance(content, dict) else None
        if not isinstance(meta, dict):
            raise UserError(f"{path} is not a checkpoint of a training.", "Start without --resume.")
        require_harmless(meta.get("cfg"), str(path))
    return path


def set_damaged_aside(run: RunFolder) -> None:
    """Rename a damaged last checkpoint, so that it does not take the place of the good one before it."""
    if is_first() and run.last.exists():
        run.last.replace(run.last.with_name(run.last.name + DAMAGED))
