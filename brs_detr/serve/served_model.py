"""A detector that works for many clients, one picture at a time."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from brs_detr.runtime.calibration import Thresholds
from brs_detr.serve.detector_worker import Facts, Task
from brs_detr.serve.limits import Limits
from brs_detr.serve.uploads import Upload


class Finder(Protocol):
    """What is used of a `brs_detr.serve.detector_process.DetectorProcess`."""

    facts: Facts

    def find(self, task: Task, seconds: float, max_bytes: float) -> dict[str, Any]:
        """An entry as of predictions.json."""
        ...


class ServedModel:
    """Asks a detector in a thread, so that the server answers while it works.

    Args:
        finder: of the objects.
        name: to show.
        threshold: in [0, 1], for clients that name none; by default the detector's own, of which each class may have
            another.
    """

    def __init__(self, finder: Finder, name: str, threshold: float | None = None) -> None:
        self.name = name
        self.class_names = finder.facts.class_names
        self.threshold: Thresholds = finder.facts.score_threshold if threshold is None else threshold
        self.calibrated = finder.facts.calibrated
        self.head, self.precision = finder.facts.head, finder.facts.precision
        self._finder = finder
        self._thread = ThreadPoolExecutor(1, "detector")

    async def detect(
        self, upload: Upload, threshold: Thresholds, limits: Limits, seconds: float = float("inf")
    ) -> tuple[dict[str, Any], float]:
        """Find the objects of an upload, when the detector's turn comes.

        Args:
            upload: of a request.
            threshold: lowest score, of all classes or of each.
            limits: of the picture and of the memory that it takes.
            seconds: that are left for it.

        Returns:
            An entry as of predictions.json (file, width, height, objects), and the seconds that it took.

        Raises:
            Refusal: see `brs_detr.serve.detector_process.DetectorProcess.find`.
        """
        task = Task(upload, threshold, limits.max_pixels)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._find, task, limits, seconds)

    def _find(self, task: Task, limits: Limits, seconds: float) -> tuple[dict[str, Any], float]:
        started = time.monotonic()
        return self._finder.find(task, seconds, limits.max_memory), time.monotonic() - started
