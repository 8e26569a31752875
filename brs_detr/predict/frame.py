"""One picture to detect on, from wherever it came."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brs_detr.runtime.detections import Detections


@dataclass(frozen=True)
class Frame:
    """A decoded picture.

    Args:
        name: path of an image, relative to what was asked for, with forward slashes; of a video or camera its name.
        pixels: RGB uint8 [H, W, 3].
        index: number of a video's frame; None for an image.
        seconds: time of a video's frame from the beginning; None for an image.
    """

    name: str
    pixels: NDArray[np.uint8]
    index: int | None = None
    seconds: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def stem(self) -> str:
        """A name for files made of this frame: without a suffix, with the number of a video's frame."""
        return self._numbered(Path(self.name).with_suffix("").as_posix())

    @property
    def long_stem(self) -> str:
        """The same with the suffix, for where two files differ in nothing else."""
        return self._numbered(self.name)

    def _numbered(self, name: str) -> str:
        return name if self.index is None else f"{name}_{self.index:06d}"


class Writer(Protocol):
    """Something that writes what was found; nothing has its final name before `close`, but for pictures."""

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame's objects."""

    def close(self) -> None:
        """Finish the file."""

    def discard(self) -> None:
        """Leave nothing of the file behind."""
