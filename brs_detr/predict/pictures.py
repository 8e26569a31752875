"""What was found, to look at: drawn pictures, drawn videos and crops."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from brs_detr.predict.frame import Frame
from brs_detr.predict.video import USUAL_FPS, VideoFile
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.draw import draw_detections

CROPS = "crops"
_KEPT_SUFFIXES = {".jpg", ".jpeg", ".png"}
_JPEG_QUALITY = 92


def picture_name(name: str) -> str:
    """Of the drawn picture of an image: the same, or a PNG where its format could not be kept."""
    return name if Path(name).suffix.lower() in _KEPT_SUFFIXES else f"{name}.png"


def video_names(names: Sequence[str]) -> list[str]:
    """Of the drawn videos: without suffix, or with it where there are several of one name."""
    stems = [Path(name).with_suffix("").as_posix() for name in names]
    counts = Counter(stem.lower() for stem in stems)
    chosen = (stem if counts[stem.lower()] == 1 else name for name, stem in zip(names, stems, strict=True))
    return [f"{name}_found.mp4" for name in chosen]


class PictureWriter:
    """Drawn pictures, in the folder by the names of the images; of a video one drawn video.

    Args:
        out: folder.
        fps: of a video that is drawn.
        video_name: of the drawn video.
    """

    def __init__(self, out: Path, fps: float = USUAL_FPS, video_name: str = "") -> None:
        self.out, self.fps, self.video_name = out, fps, video_name
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
            self._video = VideoFile(self.out / self.video_name, self.fps)
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
        self._folders: dict[str, int] = {}

    def add(self, frame: Frame, found: Detections) -> None:
        """Cut the objects out of one frame."""
        picture = Image.fromarray(frame.pixels)
        for number, one in enumerate(found, start=1):
            x1, y1, x2, y2 = one.box_xyxy
            box = (int(x1), int(y1), max(int(np.ceil(x2)), int(x1) + 1), max(int(np.ceil(y2)), int(y1) + 1))
            folder = self.folder / self._folder_name(one.name, one.label)
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{safe_name(frame.stem)}_{number}"
            while (folder / f"{name}.jpg").exists():  # of a.jpg and a.png
                name += "_"
            picture.crop(box).save(folder / f"{name}.jpg", quality=_JPEG_QUALITY)

    def _folder_name(self, class_name: str, label: int) -> str:
        """The name of the class, with its label where another class would have the same folder."""
        name = safe_name(class_name)
        return name if self._folders.setdefault(name.lower(), label) == label else f"{name}_{label}"

    def close(self) -> None:
        """All is written."""

    def discard(self) -> None:
        """Crops that are done stay."""


def safe_name(text: str) -> str:
    """A text as a file name on every system: letters, digits, and `-_.` inside."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._ ") or "_"
