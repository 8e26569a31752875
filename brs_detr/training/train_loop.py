"""The loop of a training, which can be left after any step and taken up again there."""

from __future__ import annotations

import itertools
import signal
import time
import warnings
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from brs_detr.evaluation.loaders import end_workers
from brs_detr.run.distributed import largest_of_all
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.stop_signals import Stopped, StopSignals
from brs_detr.training.training_samples import TrainingSamples
from brs_detr.training.unsaved import clear_unsaved


class _Wish(IntEnum):
    """What a process would do after a step. All do what the greatest of them is."""

    GO_ON = 0
    SAVE = 1
    STOP = 2  # and save


class TrainLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, with checkpoints within an epoch, and an orderly end when a signal asks for it.

    A run that goes on from a checkpoint reads the images that are left of the epoch, in their order. A checkpoint at
    the end of an epoch is older than its evaluation, so that begins anew. Gradients that are accumulated make a step
    at the end of an epoch, weighed by the number of batches that are left: what waits is in no checkpoint, and a set
    smaller than the effective batch would see steps in some epochs only.

    Args:
        runner: of mmengine.
        dataloader: config of the loader.
        save_minutes: between two checkpoints within an epoch, >= 0.
        max_unreadable: share of the images above which the training stops; a single one is always let pass.
        kwargs: of mmengine's loop.
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
        """Batches of this epoch that are done."""
        return self._iter - self._epoch * len(self.dataloader)

    def run(self) -> nn.Module:
        """Train, from wherever the run is.

        Raises:
            Stopped: a signal asked for it; all is saved.
        """
        self._fit_to_loader()
        self._clear_unsaved()
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
        """Train on what is left of an epoch."""
        self.dataloader.dataset.epoch = self._epoch
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        self._count_steps()
        for index, batch in self._batches():
            self.run_iter(index, batch)
            if index + 1 < len(self.dataloader):
                self._pause()
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
        self._saved = time.monotonic()
        self._leave_if_asked()

    def _batches(self) -> Iterator[tuple[int, Any]]:
        done, loader = self.position, self.dataloader
        loading = iter(_rest_of(loader, done) if done else loader)
        try:
            yield from enumerate(loading, start=done)
        finally:
            end_workers(loading)

    def _count_steps(self) -> None:
        no_module = nn.Module()  # mmengine's warning about BatchNorm has been logged once
        warnings.filterwarnings("ignore", r"Detected call of `scheduler\.step\(\)` before", UserWarning)  # accumulating
        self.runner.optim_wrapper.initialize_count_status(no_module, self.position, len(self.dataloader))

    def _pause(self) -> None:
        """Between two steps: save, and leave, where any process wishes to."""
        if not self.runner.optim_wrapper.should_update():
            return
        wish = _Wish(largest_of_all(self._wish()))
        if wish > _Wish.GO_ON:
            self.runner.call_hook("save_within_epoch")
            self._saved = time.monotonic()
        if wish == _Wish.STOP:
            self._leave()

    def _wish(self) -> _Wish:
        if self.signals is not None and self.signals.received is not None:
            return _Wish.STOP
        is_time = is_main_process() and time.monotonic() - self._saved >= self.save_seconds
        return _Wish.SAVE if is_time else _Wish.GO_ON

    def _leave_if_asked(self) -> None:
        if largest_of_all(self._wish()) == _Wish.STOP:
            self._leave()

    def _leave(self) -> None:
        largest_of_all(0)  # none goes, and takes the others with it, before the first has saved
        received = self.signals.received if self.signals is not None else None
        raise Stopped(received or signal.SIGTERM)  # another process has received it

    def _evaluate(self) -> None:
        """Evaluate after an epoch, if it is the turn."""
        self._decide_current_val_interval()
        is_turn = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and is_turn:
            self.runner.val_loop.run()

    def _clear_unsaved(self) -> None:
        if is_main_process():
            clear_unsaved(RunFolder(Path(self.runner.work_dir)), self._iter, self._epoch - (not self.position))

    def _fit_to_loader(self) -> None:
        """Where the run went on with another number of processes or images: to the same share of its epoch."""
        hub, now = self.runner.message_hub, len(self.dataloader)
        before = hub.runtime_info.get("batches_per_epoch", now)
        if before != now:
            done = self._iter - self._epoch * before
            self._iter = self._epoch * now + done * now // before
        hub.update_info("batches_per_epoch", now)


def _rest_of(loader: DataLoader, num_done: int) -> DataLoader:
    """A loader of what is behind so many batches; they are not read."""
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
