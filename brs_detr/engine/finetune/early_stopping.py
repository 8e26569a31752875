"""Stop a training that gets no better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner

from brs_detr.engine.plain_file import load_plain
from brs_detr.engine.run_folder import RunFolder


class StopEarly(EarlyStoppingHook):
    """mmengine's hook, which waits until the AP has begun to rise, and goes on counting in a run that is resumed.

    Args:
        patience: evaluations in a row that are not better than the best.
        monitor: the metric; larger is better.
        min_delta: what counts as better.
    """

    def __init__(self, patience: int, monitor: str = "coco/AP", min_delta: float = 0.001) -> None:
        super().__init__(monitor, rule="greater", min_delta=min_delta, patience=patience)

    def before_train(self, runner: Runner) -> None:
        """Take up the count of the run that is resumed."""
        best = RunFolder(Path(runner.work_dir)).best
        if runner.iter > 0 and best.is_file():
            meta = load_plain(best)["meta"]
            self.best_score = meta["metrics"][self.monitor]
            self.wait_count = (runner.epoch - meta["epoch"]) // runner.val_interval

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Count evaluations; random weights may find nothing for a long time."""
        if max(metrics.get(self.monitor, 0.0), self.best_score) >= self.min_delta:
            super().after_val_epoch(runner, metrics)
