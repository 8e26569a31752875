"""Signals that ask a training to end: it takes its step to the end, saves, and goes."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; the end of a job, by Slurm, torchrun or a container; the warning that Slurm can send before its limit."""


class Stopped(KeyboardInterrupt):
    """A training has ended because a signal asked for it; `last.pth` holds all of it.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a program returns that the signal has ended."""
        return 128 + self.number


class StopSignals(Hook):
    """Within it, the first of `STOPPING` is remembered; an interrupt after that ends the program at once.

    As a hook it gives itself to the loop, which asks it after each step, and ends an evaluation.

    Args:
        console: where to tell.

    Attributes:
        received: the signal, None as long as there is none.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # others cannot be told of signals
            self._before = {number: signal.signal(number, self._receive) for number in STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a process that loads data, which has not begun yet
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        self.console.print("Stopping after this step. Interrupt again to stop at once.")

    def before_train(self, runner: Runner) -> None:
        """Let the loop know where to ask."""
        runner.train_loop.signals = self

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Leave an evaluation: it begins anew when the run goes on.

        Raises:
            Stopped: a signal has come.
        """
        if self.received is not None:
            raise Stopped(self.received)
