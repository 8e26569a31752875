"""Run a detector in its own process, which is killed and replaced if an image takes too much time or memory.

`DetectorProcess` is the server's end, `work` the other end.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any

import psutil

from brs_detr.config.own_modules import import_own, own_modules
from brs_detr.errors import UserError
from brs_detr.predict.writers import objects_of
from brs_detr.printable import for_terminal
from brs_detr.runtime.calibration import Thresholds
from brs_detr.serve.limits import GIGABYTE, Refusal
from brs_detr.serve.uploads import Upload, decode_image

if TYPE_CHECKING:
    from brs_detr.runtime.artefact_info import ArtefactInfo
    from brs_detr.runtime.detector import Detector

_TICK_SECONDS = 0.01
_SECONDS_TO_START = 600  # enough to read a model from a slow disk

LOWEST_SCORE = 0.0
"""Threshold of the detector itself. The threshold of a request is applied to its result."""


@dataclass(frozen=True)
class Task:
    """An image to detect objects in.

    Args:
        upload: the image.
        threshold: lowest score to return, for all classes or per class.
        max_pixels: limit for its pixels.
    """

    upload: Upload
    threshold: Thresholds
    max_pixels: int


class DetectorProcess:
    """Runs a detector in another process, one image at a time. A process that ends is replaced.

    Args:
        open_detector: opens the detector; must be picklable, such as a `functools.partial` of a class.

    Raises:
        UserError: ``open_detector`` raised it, or the process ended.
    """

    def __init__(self, open_detector: Callable[[], Detector]) -> None:
        self._open = open_detector
        self._is_closed = False
        self.peak_bytes = 0
        """Peak memory of the process during the last image."""
        self._begin()
        self.info = self._receive_info()

    def find(self, task: Task, seconds: float = float("inf"), max_bytes: float = float("inf")) -> dict[str, Any]:
        """Detect the objects in an image.

        Args:
            task: the image.
            seconds: time after which the process is killed.
            max_bytes: memory beyond which the process is killed.

        Returns:
            An entry as in predictions.json: file, width, height, and objects.

        Raises:
            Refusal: 422 if the image cannot be decoded or takes too much memory, 503 if it takes too long, 500 if the
                detector fails.
        """
        if not self._is_ready:
            self._receive_info()
        self._tasks.send(task)
        answer = self._watch(task, time.monotonic() + seconds, seconds, max_bytes)
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def memory(self) -> int:
        """Return the memory of the process in bytes."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:  # the process has just ended
            return 0

    def close(self) -> None:
        """Kill the process. A request in progress is refused."""
        self._is_closed = True
        self._process.kill()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._tasks: Connection
        self._tasks, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=work, args=(theirs, self._open, own_modules()), daemon=True
        )
        self._process.start()
        theirs.close()
        self._is_ready = False

    def _receive_info(self) -> ArtefactInfo:
        try:
            answer = self._tasks.recv() if self._tasks.poll(_SECONDS_TO_START) else None
        except EOFError:
            answer = None
        if isinstance(answer, Refusal):
            raise UserError(answer.message, answer.hint)
        if answer is None:
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
                        f"{task.upload.title} was not done in the {seconds:.3g} seconds that were left.",
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
            raise Refusal(500, "The detector ended, maybe for lack of memory.", "Send a smaller image.") from None

    def _replace(self) -> None:
        self._process.kill()
        self._process.join()
        self._tasks.close()
        if not self._is_closed:
            self._begin()


def work(tasks: Connection, open_detector: Callable[[], Detector], modules: Sequence[str] = ()) -> None:
    """Send the description of a detector, then process tasks until the other end is closed.

    Args:
        tasks: receives `Task`; sends `ArtefactInfo` first, then entries as in predictions.json or refusals.
        open_detector: opens the detector.
        modules: of the user's own, which the detector may need (see `brs_detr.config.own_modules`).
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the server kills this process
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for module in modules:
            import_own(module)
        detector = open_detector()
    except UserError as error:
        tasks.send(Refusal(422, error.message, error.hint))
        return
    tasks.send(detector.info)
    detector.score_threshold = LOWEST_SCORE
    while True:
        try:
            task = tasks.recv()
        except (EOFError, OSError):
            return
        try:
            tasks.send(find_objects(detector, task))
        except Refusal as refusal:
            tasks.send(refusal)
        del task
        _release_memory()


def find_objects(detector: Detector, task: Task) -> dict[str, Any]:
    """Return an entry as in predictions.json: file, width, height, and the objects above the threshold.

    Raises:
        Refusal: the image cannot be decoded, or the detector fails, which also prints a traceback.
    """
    try:
        image = decode_image(task.upload, task.max_pixels)
        found = detector(image).above(task.threshold)
    except Refusal:
        raise
    except Exception as error:  # depends on what runs the model
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            raise Refusal(422, f"{task.upload.title} needs more memory than there is.", "Send it smaller.") from None
        sys.stderr.write(for_terminal(traceback.format_exc()))
        raise Refusal(500, f"The detector failed: {type(error).__name__}.", "See the terminal of the server.") from None
    size = {"width": image.width, "height": image.height}
    return {"file": task.upload.name, **size, "objects": objects_of(found)}


def _release_memory() -> None:
    """Return memory to the system that libraries would keep for the next image."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only in glibc
        if trim is not None:
            trim(0)


def _end_with_parent() -> None:
    """Exit when the server does, however it ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
