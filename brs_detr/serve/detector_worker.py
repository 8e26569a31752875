"""What the process of a detector does: decode a picture, find its objects, give the memory back."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol

from brs_detr.errors import UserError
from brs_detr.printable import for_terminal
from brs_detr.runtime.calibration import Thresholds
from brs_detr.serve.pictures import decode_picture
from brs_detr.serve.refusal import Refusal
from brs_detr.serve.uploads import Upload

if TYPE_CHECKING:
    from PIL.Image import Image

    from brs_detr.runtime.detections import Detections

LOWEST_SCORE = 0.0
"""What the detector is asked for; a client's threshold is applied to it."""


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
        """The objects on a picture, best first."""
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
    """A picture to look at.

    Args:
        upload: its bytes.
        threshold: lowest score of an object that is told; one for all classes, or one for each.
        max_pixels: that it may have, width times height.
    """

    upload: Upload
    threshold: Thresholds
    max_pixels: int


@dataclass(frozen=True)
class Refused:
    """A `Refusal` or a `UserError` on its way to another process."""

    message: str
    cure: str | None
    status: int = 422


@dataclass(frozen=True)
class Failed:
    """An exception that nobody foresaw; its traceback has been printed."""

    kind: str


def work(tasks: Connection, open_detector: Callable[[], AnyDetector]) -> None:
    """Send the facts of a detector, then answer tasks until the other end is closed.

    Args:
        tasks: takes `Task`, gives `Facts`, entries as of predictions.json, `Refused` or `Failed`.
        open_detector: gives the detector; what it refuses is sent.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the server ends this process
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        detector = open_detector()
    except UserError as error:
        tasks.send(Refused(error.message, error.cure))
        return
    tasks.send(Facts.of(detector))
    detector.score_threshold = LOWEST_SCORE
    while True:
        try:
            task = tasks.recv()
        except (EOFError, OSError):
            return
        tasks.send(answer(detector, task))
        del task
        give_memory_back()


def answer(detector: AnyDetector, task: Task) -> dict[str, Any] | Refused | Failed:
    """An entry as of predictions.json: file, width, height, and the objects from the threshold on."""
    try:
        picture = decode_picture(task.upload, task.max_pixels)
        found = detector(picture).above(task.threshold)
    except Refusal as refusal:
        return Refused(refusal.message, refusal.cure, refusal.status)
    except Exception as error:  # of whatever runs the model
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            return Refused(f"{task.upload.title} needs more memory than there is.", "Send it smaller.")
        sys.stderr.write(for_terminal(traceback.format_exc()))
        return Failed(type(error).__name__)
    objects = [
        {"name": one.name, "label": one.label, "score": one.score, "box_xyxy": list(one.box_xyxy)} for one in found
    ]
    return {"file": task.upload.name, "width": picture.width, "height": picture.height, "objects": objects}


def give_memory_back() -> None:
    """Return what a picture took to the system, where a library would keep it for the next."""
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
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
