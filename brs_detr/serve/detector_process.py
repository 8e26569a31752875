"""A detector in a process of its own, which is ended when a picture takes too long or too much memory."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import psutil

from brs_detr.errors import UserError
from brs_detr.serve.detector_worker import AnyDetector, Facts, Failed, Refused, Task, work
from brs_detr.serve.refusal import Refusal

_TICK_SECONDS = 0.01
_SECONDS_TO_START = 600
"""For a model to be read, from a slow disk too."""

GIGABYTE = 1_000_000_000


class DetectorProcess:
    """Opens a detector in another process and gives it one picture at a time.

    A process that is ended, or ends, is followed by a new one.

    Args:
        open_detector: importable by another process, such as a `functools.partial` of a function of a module.

    Raises:
        UserError: what ``open_detector`` raises.
    """

    def __init__(self, open_detector: Callable[[], AnyDetector]) -> None:
        self._open = open_detector
        self._is_closed = False
        self.peak_bytes = 0
        """Most memory that the process held while it looked at the last picture."""
        self._begin()
        self.facts = self._receive_facts()

    def find(self, task: Task, seconds: float = float("inf"), max_bytes: float = float("inf")) -> dict[str, Any]:
        """The objects on a picture.

        Args:
            task: the picture.
            seconds: after which the process is ended.
            max_bytes: of memory, beyond which it is ended.

        Returns:
            An entry as of predictions.json: file, width, height, and objects.

        Raises:
            Refusal: 422 for a picture that cannot be decoded or takes too much memory, 503 for one that takes too long,
                500 where the detector fails.
        """
        if not self._is_ready:
            self._receive_facts()
        self._tasks.send(task)
        return entry_of(self._watch(task, time.monotonic() + seconds, seconds, max_bytes))

    def memory(self) -> int:
        """What the process holds now, in bytes."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:  # it has just ended
            return 0

    def close(self) -> None:
        """End the process, whatever it does; whoever waits for an answer is told."""
        self._is_closed = True
        self._process.kill()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._tasks: Connection
        self._tasks, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=work, args=(theirs, self._open), daemon=True)
        self._process.start()
        theirs.close()
        self._is_ready = False

    def _receive_facts(self) -> Facts:
        try:
            answer = self._tasks.recv() if self._tasks.poll(_SECONDS_TO_START) else None
        except EOFError:
            answer = None
        if isinstance(answer, Refused):
            raise UserError(answer.message, answer.cure)
        if not isinstance(answer, Facts):
            self._process.kill()
            raise UserError("The process of the detector ended before it could be used.", "Try the file with predict.")
        self._is_ready = True
        return answer

    def _watch(self, task: Task, deadline: float, seconds: float, max_bytes: float) -> Any:
        self.peak_bytes = 0
        try:
            while not self._tasks.poll(_TICK_SECONDS):
                self.peak_bytes = max(self.peak_bytes, self.memory())
                if self.peak_bytes > max_bytes:
                    raise Refusal(
                        422,
                        f"{task.upload.title} takes more than {max_bytes / GIGABYTE:.1f} GB of memory.",
                        "Send it smaller, or start the server with a larger --max-memory-gb.",
                    )
                if time.monotonic() > deadline:
                    raise Refusal(
                        503,
                        f"{task.upload.title} was not done in the {seconds:.3g} seconds that were left for it.",
                        "Send it smaller or alone, or start the server with a larger --max-seconds.",
                    )
            return self._tasks.recv()
        except Refusal:
            self._replace()
            raise
        except (EOFError, OSError):
            if self._is_closed:
                raise Refusal(503, "The server is being stopped.", "Start it again.") from None
            self._replace()
            raise Refusal(500, "The detector ended, maybe for want of memory.", "Send a smaller picture.") from None

    def _replace(self) -> None:
        self._process.kill()
        self._process.join()
        self._tasks.close()
        if not self._is_closed:
            self._begin()


def entry_of(answer: dict[str, Any] | Refused | Failed) -> dict[str, Any]:
    """The objects that a process found.

    Raises:
        Refusal: it found none, for the picture or for a fault of its own.
    """
    if isinstance(answer, Refused):
        raise Refusal(answer.status, answer.message, answer.cure)
    if isinstance(answer, Failed):
        raise Refusal(500, f"The detector failed: {answer.kind}.", "The terminal of the server says more.")
    return answer
