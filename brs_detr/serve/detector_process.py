"""A detector in a process of its own, which is ended if an image takes too long or too much memory: both ends of it."""

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
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from brs_detr.errors import UserError
from brs_detr.predict.writers import objects_of
from brs_detr.printable import for_terminal
from brs_detr.runtime.calibration import Thresholds
from brs_detr.serve.limits import GIGABYTE, Refusal
from brs_detr.serve.uploads import Upload, decode_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from brs_detr.runtime.detections import Detections

_TICK_SECONDS = 0.01
_SECONDS_TO_START = 600
"""Time to read a model, from a slow disk too."""

LOWEST_SCORE = 0.0
"""Threshold of the detector; that of a client is applied to the result."""


class AnyDetector(Protocol):
    """What `brs_detr.Detector` and `brs_detr.runtime.Detector` have in common."""

    score_threshold: Thresholds

    @property
    def calibrated(self) -> bool:
        """Scores are probabilities."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The place in the tuple is the label."""
        ...

    def __call__(self, image: Image, /) -> Detections:
        """The objects on a image, best first."""
        ...


@dataclass(frozen=True)
class Facts:
    """What a detector says of itself; head and precision are known of an exported file."""

    class_names: tuple[str, ...]
    score_threshold: Thresholds
    calibrated: bool = False
    head: str | None = None
    precision: str | None = None

    @classmethod
    def of(cls, detector: AnyDetector) -> Facts:
        """The facts of a detector."""
        info = getattr(detector, "info", None)
        head, precision = getattr(info, "head", None), getattr(info, "precision", None)
        names = tuple(detector.class_names)
        return cls(names, detector.score_threshold, detector.calibrated, head, precision)


@dataclass(frozen=True)
class Task:
    """A image to look at.

    Args:
        upload: its bytes.
        threshold: lowest score of an object that is told; one for all classes, or one for each.
        max_pixels: that it may have, width times height.
    """

    upload: Upload
    threshold: Thresholds
    max_pixels: int


class DetectorProcess:
    """Opens a detector in another process and gives it one image at a time.

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
        """Most memory that the process held while it looked at the last image."""
        self._begin()
        self.facts = self._receive_facts()

    def find(self, task: Task, seconds: float = float("inf"), max_bytes: float = float("inf")) -> dict[str, Any]:
        """The objects on a image.

        Args:
            task: the image.
            seconds: after which the process is ended.
            max_bytes: of memory, beyond which it is ended.

        Returns:
            An entry as of predictions.json: file, width, height, and objects.

        Raises:
            Refusal: 422 for a image that cannot be decoded or takes too much memory, 503 for one that takes too long,
                500 where the detector fails.
        """
        if not self._is_ready:
            self._receive_facts()
        self._tasks.send(task)
        answer = self._watch(task, time.monotonic() + seconds, seconds, max_bytes)
        if isinstance(answer, Refusal):
            raise answer
        return answer

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
        if isinstance(answer, Refusal):
            raise UserError(answer.message, answer.hint)
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
            raise Refusal(500, "The detector ended, maybe for want of memory.", "Send a smaller image.") from None

    def _replace(self) -> None:
        self._process.kill()
        self._process.join()
        self._tasks.close()
        if not self._is_closed:
            self._begin()


def work(tasks: Connection, open_detector: Callable[[], AnyDetector]) -> None:
    """Send the facts of a detector, then answer tasks until the other end is closed.

    Args:
        tasks: receives `Task`; sends `Facts`, then entries as in predictions.json, or a `Refusal` instead.
        open_detector: opens the detector.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the server ends this process
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        detector = open_detector()
    except UserError as error:
        tasks.send(Refusal(422, error.message, error.hint))
        return
    tasks.send(Facts.of(detector))
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


def find_objects(detector: AnyDetector, task: Task) -> dict[str, Any]:
    """An entry as in predictions.json: file, width, height, and the objects above the threshold.

    Raises:
        Refusal: the image cannot be decoded, or the detector fails; a traceback has been printed then.
    """
    try:
        image = decode_image(task.upload, task.max_pixels)
        found = detector(image).above(task.threshold)
    except Refusal:
        raise
    except Exception as error:  # of whatever runs the model
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            raise Refusal(422, f"{task.upload.title} needs more memory than there is.", "Send it smaller.") from None
        sys.stderr.write(for_terminal(traceback.format_exc()))
        raise Refusal(
            500, f"The detector failed: {type(error).__name__}.", "The terminal of the server says more."
        ) from None
    size = {"width": image.width, "height": image.height}
    return {"file": task.upload.name, **size, "objects": objects_of(found)}


def _release_memory() -> None:
    """Give memory back to the system that libraries would keep for the next image."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
        if trim is not None:
            trim(0)


def _end_with_parent() -> None:
    """Leave no process behind, whatever ended the server."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
