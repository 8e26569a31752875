"""Small training hooks: end mosaic augmentation, stop early, share buffers between processes."""

from __future__ import annotations

from typing import Any

from mmengine.dist import broadcast
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.runner import Runner

_EARLY_STOP = "stop_early"
"""Key of the state of `StopEarly` in a checkpoint."""


class CloseMosaic(Hook):
    """End mosaic augmentation, so that the last epochs train on whole images.

    Args:
        begin: number of epochs with mosaic augmentation.
    """

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.is_closed = False

    def before_train_epoch(self, runner: Runner) -> None:
        """Skip the transform from the epoch `begin` on. The data loader workers are restarted to notice the change."""
        if runner.epoch >= self.begin and not self.is_closed:
            self.is_closed = True
            runner.train_dataloader.dataset.update_skip_type_keys(["Mosaic"])
            runner.train_dataloader._iterator = None


class StopEarly(EarlyStoppingHook):
    """Early stopping that starts to count once the AP is above zero, and keeps its count when a run resumes.

    Args:
        patience: number of evaluations in a row without improvement after which training stops.
        monitor: name of the metric, of which larger values are better.
        min_delta: smallest change that counts as an improvement.
    """

    def __init__(self, patience: int, monitor: str = "coco/AP", min_delta: float = 0.001) -> None:
        super().__init__(monitor, rule="greater", min_delta=min_delta, patience=patience)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the best value and the count."""
        checkpoint[_EARLY_STOP] = {"best_score": self.best_score, "wait_count": self.wait_count}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore the best value and the count of a run that is resumed."""
        saved = checkpoint.get(_EARLY_STOP)
        if saved and runner._resume:
            self.best_score, self.wait_count = saved["best_score"], saved["wait_count"]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Count an evaluation, unless the AP is still zero, as it may be for long with random weights."""
        if max(metrics.get(self.monitor, 0.0), self.best_score) >= self.min_delta:
            super().after_val_epoch(runner, metrics)


class ShareBuffers(Hook):
    """Evaluate with the buffers of the first process, which are also those in checkpoints.

    Trained BatchNorm has different statistics in each process, so that results would depend on which process evaluates
    an image.
    """

    priority = "VERY_LOW"  # after the hook that swaps in the moving average of the weights

    def before_val_epoch(self, runner: Runner) -> None:
        """Broadcast the buffers of the first process."""
        for buffer in runner.model.buffers():
            broadcast(buffer)
