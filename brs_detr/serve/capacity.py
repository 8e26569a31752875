"""What images cost a detector, measured, and how large they may be for it."""

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
_LEAST_BYTES_PER_PIXEL = 20
"""To decode a image and to bring it into RGB."""
_HASTE = 2
"""By which images have to be faster than they may be: the machine has other things to do as well."""


@dataclass(frozen=True)
class Capacity:
    """What a image costs.

    Args:
        base_bytes: that the detector holds between images.
        bytes_per_pixel: that it takes besides.
        seconds: for a image without a pixel, in theory.
        seconds_per_pixel: besides.
    """

    base_bytes: int
    bytes_per_pixel: float
    seconds: float
    seconds_per_pixel: float

    def most_pixels(self, max_bytes: float, max_seconds: float) -> int:
        """Pixels of the largest image that stays within memory, in addition to ``base_bytes``, and time."""
        by_memory = max_bytes / self.bytes_per_pixel
        if self.seconds_per_pixel <= 0:
            return int(by_memory)
        by_time = max(0.0, max_seconds / _HASTE - self.seconds) / self.seconds_per_pixel
        return int(min(by_memory, by_time))


def measure_capacity(process: DetectorProcess) -> Capacity:
    """Let a detector look at images of two sizes.

    Raises:
        Refusal: it cannot.
    """
    tasks = [_probe(side) for side in _SIDES]
    process.find(tasks[0])  # the first one takes longer than all others
    base = process.memory()
    (small, small_seconds), (large, large_seconds) = (_cost(process, task) for task in tasks)
    num_pixels = _SIDES[1] ** 2 - _SIDES[0] ** 2
    seconds_per_pixel = max(0.0, large_seconds - small_seconds) / num_pixels
    return Capacity(
        base,
        max(_LEAST_BYTES_PER_PIXEL, (large - small) / num_pixels),
        max(0.0, small_seconds - seconds_per_pixel * _SIDES[0] ** 2),
        seconds_per_pixel,
    )


def _cost(process: DetectorProcess, task: Task) -> tuple[int, float]:
    """Most memory and the time of a image."""
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
    """Bytes that this process may take without anybody being ended for it: of the machine, or of its container."""
    return min([psutil.virtual_memory().available, *_free_in_container()])


def _free_in_container(folder: Path = Path("/sys/fs/cgroup")) -> Iterable[int]:
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return [max(0, int(limit) - int(used))]
    except (OSError, ValueError):  # none, or no limit
        return []
