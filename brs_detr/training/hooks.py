"""Small hooks of a training: end mosaic, stop early, share buffers."""

from __future__ import annotations

from typing import Any

from mmengine.dist import broadcast
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.runner import Runner

_EARLY_STOP = "stop_early"
"""Key of the counts of `StopEarly` in a checkpoint."""


class CloseMosaic(Hook):
    """Train on whole images, as the detector will see them, in the last epochs.

    Args:
        begin: number of epochs with mosaic.
    """

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.is_closed = False

    def before_train_epoch(self, runner: Runner) -> None:
        """Skip the transform from now on; workers of the data loader are started anew, to learn of it."""
        if runner.epoch >= self.begin and not self.is_closed:
            self.is_closed = True
            runner.train_dataloader.dataset.update_skip_type_keys(["Mosaic"])
            runner.train_dataloader._iterator = None


class StopEarly(EarlyStoppingHook):
    """mmengine's early stopping that waits until the AP has begun to rise, and keeps its count in a resumed run.

    Args:
        patience: evaluations in a row without a better value.
        monitor: the metric; larger is better.
        min_delta: smallest improvement that counts.
    """

    def __init__(self, patience: int, monitor: str = "coco/AP", min_delta: float = 0.001) -> None:
        super().__init__(monitor, rule="greater", min_delta=min_delta, patience=patience)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the count."""
        checkpoint[_EARLY_STOP] = {"best_score": self.best_score, "wait_count": self.wait_count}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore the count of the run that is resumed."""
        saved = checkpoint.get(_EARLY_STOP)
        if saved and runner._resume:
            self.best_score, self.wait_count = saved["best_score"], saved["wait_count"]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Count evaluations, once there is an AP: random weights may find nothing for long."""
        if max(metrics.get(self.monitor, 0.0), self.best_score) >= self.min_delta:
            super().after_val_epoch(runner, metrics)


class ShareBuffers(Hook):
    """Evaluate with the buffers of the first process, which are those that checkpoints hold.

    BatchNorm that is trained has statistics of its own in each process: results would depend on which one an image went
    to.
    """

    priority = "VERY_LOW"  # a moving mean has taken the place of the weights by then

    def before_val_epoch(self, runner: Runner) -> None:
        """Broadcast them."""
        for buffer in runner.model.buffers():
            broadcast(buffer)
