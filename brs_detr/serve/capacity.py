"""Measure how much memory and time a detector needs per pixel, and derive the largest image that it can take."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

from brs_detr.serve.detector_process import DetectorProcess, Task
from brs_detr.serve.uploads import Upload

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIDES = (512, 1024)
_MIN_BYTES_PER_PIXEL = 20  # to decode an image and convert it to RGB
_TIME_MARGIN = 2  # since the machine has other work, too


@dataclass(frozen=True)
class Capacity:
    """Memory and time that a detector needs for an image.

    Args:
        base_bytes: memory between images.
        bytes_per_pixel: additional memory per pixel.
        seconds: constant time per image.
        seconds_per_pixel: additional time per pixel.
    """

    base_bytes: int
    bytes_per_pixel: float
    seconds: float
    seconds_per_pixel: float

    def most_pixels(self, max_bytes: float, max_seconds: float) -> int:
        """Return the pixels of the largest image within a time and an amount of memory beyond `base_bytes`."""
        by_memory = max_bytes / self.bytes_per_pixel
        if self.seconds_per_pixel <= 0:
            return int(by_memory)
        by_time = max(0.0, max_seconds / _TIME_MARGIN - self.seconds) / self.seconds_per_pixel
        return int(min(by_memory, by_time))


def measure_capacity(process: DetectorProcess) -> Capacity:
    """Measure a detector on images of two sizes.

    Raises:
        Refusal: the detector fails.
    """
    tasks = [_probe(side) for side in _SIDES]
    process.find(tasks[0])  # warm-up
    base = process.memory()
    (small, small_seconds), (large, large_seconds) = (_cost(process, task) for task in tasks)
    num_pixels = _SIDES[1] ** 2 - _SIDES[0] ** 2
    seconds_per_pixel = max(0.0, large_seconds - small_seconds) / num_pixels
    return Capacity(
        base,
        max(_MIN_BYTES_PER_PIXEL, (large - small) / num_pixels),
        max(0.0, small_seconds - seconds_per_pixel * _SIDES[0] ** 2),
        seconds_per_pixel,
    )


def _cost(process: DetectorProcess, task: Task) -> tuple[int, float]:
    """Return peak memory and time for an image."""
    started = time.monotonic()
    process.find(task)
    return process.peak_bytes, time.monotonic() - started


def _probe(side: int) -> Task:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((side, side)).save(buffer, "JPEG")
    return Task(Upload("probe.jpg", buffer.getvalue()), 0.0, side * side)


def free_memory() -> int:
    """Return the free memory of this machine or its container, in bytes."""
    return min([psutil.virtual_memory().available, *_free_in_container()])


def _free_in_container(folder: Path = Path("/sys/fs/cgroup")) -> Iterable[int]:
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return [max(0, int(limit) - int(used))]
    except (OSError, ValueError):  # no container, or no limit
        return []
