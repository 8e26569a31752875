"""A training loop that can stop after any step, also by a signal, and resume there."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader

from brs_detr.evaluation.loaders import end_workers
from brs_detr.files import write_whole
from brs_detr.run.distributed import largest_of_all
from brs_detr.run.run_folder import RunFolder, read_rows, write_rows
from brs_detr.training.training_samples import TrainingSamples

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; the end of a job in Slurm, torchrun or a container; the warning that Slurm sends before a time limit."""


class Stopped(KeyboardInterrupt):
    """Raised when training has stopped because of a signal. Its full state is in `last.pth`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code of a program that is ended by the signal."""
        return 128 + self.number


class StopSignals(Hook):
    """A context that catches the first of the signals `STOPPING`. A second Ctrl-C ends the program at once.

    As a hook it makes the loop check for the signal after each step, and stops an evaluation.

    Args:
        console: where to print.

    Attributes:
        received: number of the signal, or None.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # other threads receive no signals
            self._before = {number: signal.signal(number, self._receive) for number in STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a data loader worker that is still starting
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        self.console.print("Stopping after this step. Interrupt again to stop at once.")

    def before_train(self, runner: Runner) -> None:
        """Tell the loop where to check for signals."""
        runner.train_loop.signals = self

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Abort an evaluation after a signal. It starts again when the run resumes."""
        if self.received is not None:
            raise Stopped(self.received)


class _Action(IntEnum):
    """What to do after a step. All processes take the largest action that any of them asks for."""

    CONTINUE = 0
    SAVE = 1
    STOP = 2  # and save


class TrainLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, with checkpoints within an epoch and an orderly stop after a signal.

    A resumed run reads the remaining images of the epoch in their original order. A checkpoint at the end of an epoch
    is written before the evaluation, which is repeated on resuming. Gradients that are still accumulated at the end of
    an epoch make a step, averaged over their batches. Checkpoints do not hold them, and without that step a dataset
    smaller than the effective batch would get no step in some epochs.

    Args:
        runner: mmengine's runner.
        dataloader: config of the data loader.
        save_minutes: minutes between checkpoints within an epoch, >= 0.
        max_unreadable: fraction of unreadable images above which training stops; one image is always tolerated.
        kwargs: arguments of mmengine's loop.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: dict[str, Any],
        save_minutes: float,
        max_unreadable: float,
        **kwargs: Any,
    ) -> None:
        samples = {"type": TrainingSamples, "dataset": dataloader["dataset"], "seed": runner.seed}
        super().__init__(runner, {**dataloader, "dataset": samples}, **kwargs)
        self.save_seconds = 60 * save_minutes
        self.max_unreadable = max_unreadable
        self.signals: StopSignals | None = None
        self._saved = time.monotonic()
        self._iter: int

    @property
    def position(self) -> int:
        """Number of batches of this epoch that are done."""
        return self._iter - self._epoch * len(self.dataloader)

    def run(self) -> nn.Module:
        """Train from the current position.

        Raises:
            Stopped: a signal was received. Everything is saved.
        """
        self._fit_to_loader()
        if is_main_process():
            num_evaluated = self._epoch - (not self.position)
            clear_unsaved(RunFolder(Path(self.runner.work_dir)), self._iter, num_evaluated)
        self.runner.call_hook("before_train")
        try:
            if self._iter and not self.position:
                self._evaluate()
            while self._epoch < self._max_epochs and not self.stop_training:
                self.run_epoch()
                self._evaluate()
        finally:
            if self.runner.val_loop is not None:
                end_workers(self.runner.val_loop.dataloader._iterator)
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Train on the remaining batches of an epoch."""
        self.dataloader.dataset.epoch = self._epoch
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        self._count_steps()
        for index, batch in self._batches():
            self.run_iter(index, batch)
            if index + 1 < len(self.dataloader):
                self._save_or_stop()
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
        self._saved = time.monotonic()
        if largest_of_all(self._wanted_action()) == _Action.STOP:
            self._stop()

    def _batches(self) -> Iterator[tuple[int, Any]]:
        done, loader = self.position, self.dataloader
        loading = iter(_remaining_batches(loader, done) if done else loader)
        try:
            yield from enumerate(loading, start=done)
        finally:
            end_workers(loading)

    def _count_steps(self) -> None:
        no_module = nn.Module()  # without BatchNorm, about which mmengine would warn every epoch
        warnings.filterwarnings("ignore", r"Detected call of `scheduler\.step\(\)` before", UserWarning)  # accumulating
        self.runner.optim_wrapper.initialize_count_status(no_module, self.position, len(self.dataloader))

    def _save_or_stop(self) -> None:
        """Save, or save and stop, after a step if any process asks for it."""
        if not self.runner.optim_wrapper.should_update():
            return
        action = largest_of_all(self._wanted_action())
        if action > _Action.CONTINUE:
            self.runner.call_hook("save_within_epoch")
            self._saved = time.monotonic()
        if action == _Action.STOP:
            self._stop()

    def _wanted_action(self) -> _Action:
        if self.signals is not None and self.signals.received is not None:
            return _Action.STOP
        is_time = is_main_process() and time.monotonic() - self._saved >= self.save_seconds
        return _Action.SAVE if is_time else _Action.CONTINUE

    def _stop(self) -> None:
        largest_of_all(0)  # wait until the first process has saved: the first one to exit ends the others
        received = self.signals.received if self.signals is not None else None
        raise Stopped(received or signal.SIGTERM)  # SIGTERM if only another process has received a signal

    def _evaluate(self) -> None:
        """Evaluate after an epoch if an evaluation is due."""
        self._decide_current_val_interval()
        is_due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and is_due:
            self.runner.val_loop.run()

    def _fit_to_loader(self) -> None:
        """Resume from the same fraction of the epoch if the number of batches per epoch has changed."""
        hub, now = self.runner.message_hub, len(self.dataloader)
        before = hub.runtime_info.get("batches_per_epoch", now)
        if before != now:
            done = self._iter - self._epoch * before
            self._iter = self._epoch * now + done * now // before
        hub.update_info("batches_per_epoch", now)


def _remaining_batches(loader: DataLoader, num_done: int) -> DataLoader:
    """Return a loader for the batches after the first `num_done`, which are not read."""
    return DataLoader(
        loader.dataset,
        batch_sampler=list(itertools.islice(loader.batch_sampler or (), num_done, None)),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        prefetch_factor=loader.prefetch_factor,
        multiprocessing_context=loader.multiprocessing_context,
    )


def clear_unsaved(run: RunFolder, iteration: int, num_evaluated: int) -> None:
    """Remove log records from after the checkpoint that a run resumes from, and unfinished files.

    Args:
        run: the run folder.
        iteration: last iteration in the checkpoint.
        num_evaluated: last epoch whose evaluation is in the checkpoint.
    """
    for partial in run.path.rglob(".*.partial"):
        partial.unlink()
    if run.scalars.is_file():
        lines = run.scalars.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _is_in_checkpoint(line, iteration, num_evaluated)]
        write_whole(run.scalars, "".join(f"{line}\n" for line in kept))
    rows = read_rows(run.metrics)
    if rows:
        last = {True: iteration, False: num_evaluated}
        write_rows(run.metrics, list(rows[0]), (row for row in rows if _step(row) <= last[bool(row["loss"])]))


def _is_in_checkpoint(line: str, iteration: int, num_evaluated: int) -> bool:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:  # an incomplete last line
        return False
    return bool(record.get("step", 0) <= (iteration if "loss" in record else num_evaluated))


def _step(row: dict[str, Any]) -> int:
    return int(row["iteration"] if row["loss"] else row["epoch"])
