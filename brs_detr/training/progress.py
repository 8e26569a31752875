"""Progress of a run on the console: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console, RenderableType
from rich.progress import Progress, TaskID

from brs_detr.checkpoints.checkpoint import warn_of_cut
from brs_detr.report.live import training_panel
from brs_detr.run.console import make_bar
from brs_detr.run.distributed import peak_memory_mb
from brs_detr.training.checkpoints import KeepLastAndBest

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_PANELS = 1.0


class _LiveView(Progress):
    """A progress bar with a panel above it."""

    panel: RenderableType = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the panel, then the bars."""
        yield self.panel
        yield from super().get_renderables()


class TrainingProgress(Hook):
    """Show epoch, iteration, losses by head, learning rate, images/s, memory, remaining time and AP.

    The hook never waits for the GPU, since mmengine has already moved these numbers to the host. As a context manager
    around `runner.train()` it restores the terminal in any case.

    Args:
        console: where to print: a bar on a terminal, otherwise a line every ten seconds.
        keeper: the hook that knows the best AP.
    """

    priority = "LOWEST"

    def __init__(self, console: Console, keeper: KeepLastAndBest) -> None:
        self.console = console
        self.keeper = keeper
        self.bar = make_bar(console, _LiveView)
        self.tasks: dict[str, TaskID] = {}
        self.aps: list[float] = []
        self.first_iter = 0
        self.started = self.last_line = self.last_panel = 0.0

    def __enter__(self) -> TrainingProgress:
        if is_main_process():
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:  # older versions of rich print a line when stopping a bar that never started
            self.bar.stop()

    def before_train(self, runner: Runner) -> None:
        """Start the clock and the bar at the current iteration."""
        self.first_iter, self.started = runner.iter, time.monotonic()
        num_batches = len(runner.train_dataloader)
        if done := runner.iter - runner.epoch * num_batches:
            self._print(f"Resuming in epoch {runner.epoch + 1}, after {done} of {num_batches} batches")
        elif runner.iter:
            self._print(f"Resuming after epoch {runner.epoch}")
        self.tasks["train"] = self.bar.add_task("training", total=runner.max_iters, completed=runner.iter, note="")

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Update the bar and the panel, or print a line."""
        done = runner.iter + 1
        epoch = f"epoch {runner.epoch + 1}/{runner.max_epochs}"
        note = self._note(runner, len(data_batch["inputs"]) * get_world_size())
        self.bar.update(self.tasks["train"], completed=done, description=epoch, note=note)
        if self.console.is_terminal and time.monotonic() - self.last_panel > _SECONDS_BETWEEN_PANELS:
            self.bar.panel = training_panel(recent_losses(runner), self.aps, self.keeper.best, self.keeper.best_epoch)
            self.last_panel = time.monotonic()
        is_last = batch_idx + 1 == len(runner.train_dataloader)
        if not self.console.is_terminal and (is_last or time.monotonic() - self.last_line > _SECONDS_BETWEEN_LINES):
            eta = self._eta(done, runner.max_iters)
            self._print(f"{epoch}  iteration {done}/{runner.max_iters}  {note}  ETA {eta}")
            self.last_line = time.monotonic()

    def before_val(self, runner: Runner) -> None:
        """Add a progress bar for the evaluation."""
        self.tasks["val"] = self.bar.add_task("evaluating", total=len(runner.val_dataloader), note="")

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Advance the progress bar of the evaluation."""
        self.bar.advance(self.tasks["val"])

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Print the AP and the best AP so far."""
        self.bar.remove_task(self.tasks["val"])
        values = {key.rpartition("/")[2]: value for key, value in (metrics or {}).items()}
        if "AP" in values:
            self.aps.append(values["AP"])
            self._print(
                f"epoch {runner.epoch}/{runner.max_epochs}  AP {values['AP']:.3f}  AP50 {values['AP50']:.3f}"
                f"  best AP {self.keeper.best:.3f} (epoch {self.keeper.best_epoch})"
            )
            if warning := warn_of_cut(runner.cfg.model, values.get("F1_threshold", -1.0)):
                self._print(warning)

    def _note(self, runner: Runner, batch_size: int) -> str:
        losses = runner.message_hub.log_scalars.get("train/loss")
        loss = losses.mean(50) if losses else float("nan")  # the first step was skipped
        lr = next(iter(runner.optim_wrapper.get_lr().values()))[-1]
        speed = batch_size / runner.message_hub.get_scalar("train/time").mean(50)
        return f"loss {loss:.3f}  lr {lr:.1e}  {speed:.1f} images/s  {peak_memory_mb() / 1024:.1f} GiB"

    def _eta(self, done: int, total: int) -> str:
        seconds = (time.monotonic() - self.started) / max(done - self.first_iter, 1) * (total - done)
        minutes, seconds = divmod(round(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"

    def _print(self, line: str) -> None:
        if is_main_process():
            self.console.print(line)


def recent_losses(runner: Runner) -> dict[str, float]:
    """Return each loss by name, averaged over the last 50 iterations."""
    scalars = runner.message_hub.log_scalars
    return {
        name.removeprefix("train/"): float(buffer.mean(50))
        for name, buffer in scalars.items()
        if name.startswith("train/") and "loss_" in name
    }
