"""Read frames from videos and cameras, and write videos, with OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    """An image, or a frame of a video.

    Args:
        name: name of its `Source`.
        pixels: RGB uint8 [H, W, 3].
        index: index of the frame in its video; None for an image.
        seconds: time of the frame in its video; None for an image.
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
        """Base for the names of files: the name without its suffix, with the index of a video's frame."""
        return self._numbered(Path(self.name).with_suffix("").as_posix())

    @property
    def long_stem(self) -> str:
        """`stem` with the suffix, which tells images apart that differ in nothing else."""
        return self._numbered(self.name)

    def _numbered(self, name: str) -> str:
        return name if self.index is None else f"{name}_{self.index:06d}"


class Video:
    """An open video file or camera; iterate over it for its frames.

    Args:
        source: a video or camera.
        most_frames: number of frames to read; None for all.
        every: read one of this many frames.

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
                raise UserError(f"There is no camera number {source.camera}.", "Choose another, such as webcam:1.")
            raise UserError(f"{source.path} is not a video that can be decoded, or has no frame.", "Convert it to MP4.")
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or DEFAULT_FPS
        stated = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) if source.path is not None else 0
        limits = [-(-max(stated, 0) // every), most_frames]
        self.num_frames: int | None = min((limit for limit in limits if limit), default=None)

    def __len__(self) -> int:
        return self.num_frames or 0

    def __iter__(self) -> Iterator[Frame]:
        index, num_yielded, pixels = 0, 0, self._first
        try:
            while pixels is not None and (self.most_frames is None or num_yielded < self.most_frames):
                if index % self.every == 0:
                    num_yielded += 1
                    yield Frame(self.source.name, pixels, index, index / self.fps)
                index += 1
                pixels = self._read()
        finally:
            self._capture.release()

    def _read(self) -> NDArray[np.uint8] | None:
        is_read, pixels = self._capture.read()
        return np.ascontiguousarray(pixels[..., ::-1]) if is_read else None


@contextmanager
def written_video(path: Path, fps: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Yield a function that appends a frame, RGB [H, W, 3], to an MP4 file; all frames have the size of the first.

    The file appears when the context ends, and is deleted if it fails. Without frames there is no file.
    """
    import cv2

    partial = path.with_name(f".{path.stem}.partial{path.suffix}")  # OpenCV goes by the suffix
    writer = cv2.VideoWriter()

    def add(pixels: NDArray[np.uint8]) -> None:
        if not writer.isOpened():
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (pixels.shape[1], pixels.shape[0])
            if not writer.open(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), fps, size):
                raise UserError(f"OpenCV cannot write the video {path}.", "Add --no-pictures.")
        writer.write(np.ascontiguousarray(pixels[..., ::-1]))

    try:
        yield add
        writer.release()
        if partial.exists():
            partial.replace(path)
    finally:
        writer.release()
        partial.unlink(missing_ok=True)
