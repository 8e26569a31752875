"""Frames of images, videos and cameras, and videos of frames, by OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.errors import UserError
from brs_detr.predict.sources import Source

DEFAULT_FPS = 25.0


@dataclass(frozen=True)
class Frame:
    """A decoded image.

    Args:
        name: path of an image, relative to what was asked for, with forward slashes; or name of a video or camera.
        pixels: RGB uint8 [H, W, 3].
        index: number of a video's frame; None for an image.
        seconds: time of a video's frame; None for an image.
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
        """Name for files made of this frame: without a suffix, with the number of a video's frame."""
        return self._numbered(Path(self.name).with_suffix("").as_posix())

    @property
    def long_stem(self) -> str:
        """`stem` with the suffix of the image, for two files that differ in nothing else."""
        return self._numbered(self.name)

    def _numbered(self, name: str) -> str:
        return name if self.index is None else f"{name}_{self.index:06d}"


class Video:
    """An open video file or camera; iterate over it for its frames.

    Args:
        source: a video or camera.
        most_frames: number of frames to read; None for all.
        every: read one frame of so many.

    Raises:
        UserError: it cannot be opened, or has no frame that can be decoded.
    """

    def __init__(self, source: Source, most_frames: int | None = None, every: int = 1) -> None:
        import cv2

        self.source, self.most_frames, self.every = source, most_frames, every
        if source.path is not None and not source.path.is_file():
            raise UserError(f"There is no file {source.path}.", "Check the path.")
        opened: Any = source.camera if source.path is None else str(source.path)
        self._capture = cv2.VideoCapture(opened)
        self._first = self._read()
        if self._first is None:
            if source.path is None:
                raise UserError(f"There is no camera number {source.camera}.", "Give another, as webcam:1.")
            raise UserError(f"{source.path} is no video that can be decoded, or has no frame.", "Convert it to MP4.")
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or DEFAULT_FPS
        stated = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) if source.path is not None else 0
        limits = [-(-stated // every)] * (stated > 0) + [most_frames] * bool(most_frames)
        self.num_frames: int | None = min((limit for limit in limits if limit), default=None)

    def __len__(self) -> int:
        return self.num_frames or 0

    def __iter__(self) -> Iterator[Frame]:
        index, given, pixels = 0, 0, self._first
        try:
            while pixels is not None and (self.most_frames is None or given < self.most_frames):
                if index % self.every == 0:
                    given += 1
                    yield Frame(self.source.name, pixels, index, index / self.fps)
                index += 1
                pixels = self._read()
        finally:
            self._capture.release()

    def _read(self) -> NDArray[np.uint8] | None:
        is_read, pixels = self._capture.read()
        return np.ascontiguousarray(pixels[..., ::-1]) if is_read else None


class VideoFile:
    """An MP4 file that is written frame by frame; it gets its name when it is closed."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._writer: Any = None

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Append a frame, RGB [H, W, 3]; all have the size of the first."""
        import cv2

        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = (pixels.shape[1], pixels.shape[0])
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), codec, self.fps, size)
            if not self._writer.isOpened():
                raise UserError(f"OpenCV cannot write the video {self.path}.", "Add --no-pictures.")
        self._writer.write(np.ascontiguousarray(pixels[..., ::-1]))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
            self._partial.replace(self.path)

    def discard(self) -> None:
        """Delete what was written."""
        if self._writer is not None:
            self._writer.release()
        self._partial.unlink(missing_ok=True)
