"""What was found, to look at: drawn pictures, drawn videos and crops."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from brs_detr.prediction.frame import Frame
from brs_detr.prediction.video import VideoFile
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.draw import draw_detections

CROPS = "crops"
_KEPT_SUFFIXES = {".jpg", ".jpeg", ".png"}
_JPEG_QUALITY = 92


def picture_name(name: str) -> str:
    """Of the drawn picture of an image: the same, or a PNG where its format could not be kept."""
    return name if Path(name).suffix.lower() in _KEPT_SUFFIXES else f"{name}.png"


class PictureWriter:
    """Drawn pictures, in the folder by the names of the images; of a video one drawn video.

    Args:
        out: folder.
        fps: of a video that is drawn.
    """

    def __init__(self, out: Path, fps: float | None = None) -> None:
        self.out, self.fps = out, fps
        self._video: VideoFile | None = None

    def add(self, frame: Frame, found: Detections) -> None:
        """Draw one frame."""
        if frame.index is not None:
            self._add_to_video(frame, found)
            return
        path = self.out / picture_name(frame.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        found.draw(frame.pixels).save(path)

    def _add_to_video(self, frame: Frame, found: Detections) -> None:
        if self._video is None:
            self._video = VideoFile(self.out / f"{frame.stem.rpartition('_')[0]}_found.mp4", self.fps or 25.0)
        drawn = draw_detections(
            frame.pixels, found.boxes_xyxy, found.labels, found.scores, class_names=found.class_names, min_side=0
        )
        self._video.add(np.asarray(drawn))

    def close(self) -> None:
        """Finish a video."""
        if self._video is not None:
            self._video.close()

    def discard(self) -> None:
        """Pictures that are done stay, a video that is not does not."""
        if self._video is not None:
            self._video.discard()


class CropWriter:
    """A JPEG of each object, in a folder a class.

    Args:
        out: folder.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / CROPS

    def add(self, frame: Frame, found: Detections) -> None:
        """Cut the objects out of one frame."""
        picture = Image.fromarray(frame.pixels)
        for number, one in enumerate(found, start=1):
            x1, y1, x2, y2 = one.box_xyxy
            box = (int(x1), int(y1), max(int(np.ceil(x2)), int(x1) + 1), max(int(np.ceil(y2)), int(y1) + 1))
            folder = self.folder / safe_name(one.name)
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{safe_name(frame.stem)}_{number}"
            while (folder / f"{name}.jpg").exists():  # of a.jpg and a.png
                name += "_"
            picture.crop(box).save(folder / f"{name}.jpg", quality=_JPEG_QUALITY)

    def close(self) -> None:
        """All is written."""

    def discard(self) -> None:
        """Crops that are done stay."""


def safe_name(text: str) -> str:
    """A text as a file name on every system: letters, digits, and `-_.` inside."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._ ") or "_"
