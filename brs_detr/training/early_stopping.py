"""Stop a training that gets no better."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner

_KEY = "stop_early"


class StopEarly(EarlyStoppingHook):
    """mmengine's hook, which waits until the AP has begun to rise, and goes on counting in a run that is resumed.

    Args:
        patience: evaluations in a row that are not better than the best.
        monitor: the metric; larger is better.
        min_delta: what counts as better.
    """

    def __init__(self, patience: int, monitor: str = "coco/AP", min_delta: float = 0.001) -> None:
        super().__init__(monitor, rule="greater", min_delta=min_delta, patience=patience)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Save the count."""
        checkpoint[_KEY] = {"best_score": self.best_score, "wait_count": self.wait_count}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take up the count of the run that is resumed."""
        saved = checkpoint.get(_KEY)
        if saved and runner._resume:
            self.best_score, self.wait_count = saved["best_score"], saved["wait_count"]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Count evaluations; random weights may find nothing for a long time."""
        if max(metrics.get(self.monitor, 0.0), self.best_score) >= self.min_delta:
            super().after_val_epoch(runner, metrics)
