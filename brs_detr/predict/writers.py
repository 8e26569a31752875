"""Write what was found: JSON, CSV, COCO results, YOLO labels, drawn images and videos, crops."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from brs_detr.predict.video import Frame, VideoFile
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.draw import draw_detections

FORMATS = {"json": "predictions.json", "csv": "predictions.csv", "coco": "predictions.coco.json", "yolo": "labels"}
CROPS = "crops"
_KEPT_SUFFIXES = {".jpg", ".jpeg", ".png"}
_JPEG_QUALITY = 92


class Writer:
    """Writes the detections of one frame after the other."""

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame's objects."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish."""

    def discard(self) -> None:
        """Delete unfinished files; files of single images stay."""


class _TextFile(Writer):
    """A text file that gets its name when it is closed."""

    def __init__(self, path: Path, start: str = "", separator: str = ",\n", end: str = "") -> None:
        self.path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: IO[str] = self._partial.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        self.file.write(start)
        self._separator, self._next, self._end = separator, "\n", end

    def _write_entry(self, entry: Any) -> None:
        self.file.write(self._next + json.dumps(entry))
        self._next = self._separator

    def close(self) -> None:
        """Finish."""
        self.file.write(self._end)
        self.file.close()
        self._partial.replace(self.path)

    def discard(self) -> None:
        """Delete unfinished files."""
        self.file.close()
        self._partial.unlink(missing_ok=True)


class JsonWriter(_TextFile):
    """An entry for each image, with its objects; boxes are (x1, y1, x2, y2) in pixels. `header` goes first."""

    def __init__(self, out: Path, header: Mapping[str, Any]) -> None:
        start = json.dumps(header, indent=1).removesuffix("\n}") + ',\n "images": ['
        super().__init__(out / FORMATS["json"], start, end="\n ]\n}\n")

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame\'s objects."""
        entry: dict[str, Any] = {"file": frame.name, "height": frame.size[0], "width": frame.size[1]}
        if frame.index is not None:
            entry |= {"frame": frame.index, "seconds": round(frame.seconds or 0.0, 4)}
        self._write_entry({**entry, "objects": objects_of(found)})


def objects_of(found: Detections) -> list[dict[str, Any]]:
    """The objects as plain values, as in predictions.json."""
    return [{"name": one.name, "label": one.label, "score": one.score, "box_xyxy": list(one.box_xyxy)} for one in found]


class CsvWriter(_TextFile):
    """A row for each object."""

    HEAD = ("file", "frame", "seconds", "name", "label", "score", "x1", "y1", "x2", "y2", "width", "height")

    def __init__(self, out: Path) -> None:
        super().__init__(out / FORMATS["csv"])
        self._rows = csv.writer(self.file)
        self._rows.writerow(self.HEAD)

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame\'s objects."""
        start = (frame.name, frame.index, None if frame.seconds is None else round(frame.seconds, 4))
        for one in found:
            self._rows.writerow([*start, one.name, one.label, one.score, *one.box_xyxy, frame.size[1], frame.size[0]])


class CocoWriter(_TextFile):
    """A list of COCO results; boxes are (x, y, w, h) in pixels.

    Args:
        out: folder.
        image_ids: by image name; None numbers the images from 1.
        category_ids: by class name.
    """

    def __init__(self, out: Path, image_ids: Mapping[str, Any] | None, category_ids: Mapping[str, Any]) -> None:
        self._image_ids, self._category_ids, self._count = image_ids, category_ids, 0
        super().__init__(out / FORMATS["coco"], "[", end="\n]\n")

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame\'s objects."""
        self._count += 1
        image_id = self._count if self._image_ids is None else self._image_ids[frame.name]
        for entry in found.to_coco(image_id):
            self._write_entry({**entry, "category_id": self._category_ids[entry["category_name"]]})


class YoloWriter(Writer):
    """A text file for each image with class, centre and size as shares of the image's, and score; and `classes.txt`."""

    def __init__(self, out: Path, class_names: tuple[str, ...]) -> None:
        self.folder, self.class_names = out / FORMATS["yolo"], class_names
        self._written = {"classes"}

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame\'s objects."""
        h, w = frame.size
        lines = []
        for one in found:
            x1, y1, x2, y2 = one.box_xyxy
            numbers = ((x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h, one.score)
            lines.append(f"{one.label} {' '.join(f'{number:.6f}' for number in numbers)}\n")
        name = frame.long_stem if frame.stem.lower() in self._written else frame.stem  # a.jpg and a.png
        self._written.add(name.lower())
        path = self.folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")

    def close(self) -> None:
        """Finish."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "classes.txt").write_text("".join(f"{name}\n" for name in self.class_names), encoding="utf-8")


def picture_name(name: str) -> str:
    """Name of the drawn copy of an image: the same, or a PNG if its format cannot be written."""
    return name if Path(name).suffix.lower() in _KEPT_SUFFIXES else f"{name}.png"


def video_names(names: Sequence[str]) -> list[str]:
    """Names of the drawn copies of videos: without suffix, or with it if several videos have one stem."""
    stems = [Path(name).with_suffix("").as_posix() for name in names]
    counts = Counter(stem.lower() for stem in stems)
    chosen = (stem if counts[stem.lower()] == 1 else name for name, stem in zip(names, stems, strict=True))
    return [f"{name}_found.mp4" for name in chosen]


class PictureWriter(Writer):
    """Drawn images, named as the images, and a drawn video for each video.

    Args:
        out: folder.
        fps: frames per second of the drawn videos, by name of the video.
    """

    def __init__(self, out: Path, fps: Mapping[str, float]) -> None:
        self.out = out
        files = zip(fps, video_names(list(fps)), strict=True)
        self._videos = {name: VideoFile(out / file, fps[name]) for name, file in files}

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame\'s objects."""
        if frame.index is None:
            path = self.out / picture_name(frame.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            found.draw(frame.pixels).save(path)
            return
        drawn = draw_detections(
            frame.pixels, found.boxes_xyxy, found.labels, found.scores, class_names=found.class_names, min_side=0
        )
        self._videos[frame.name].add(np.asarray(drawn))

    def close(self) -> None:
        """Finish."""
        for video in self._videos.values():
            video.close()

    def discard(self) -> None:
        """Delete unfinished files."""
        for video in self._videos.values():
            video.discard()


class CropWriter(Writer):
    """A JPEG of each object, in one folder for each class."""

    def __init__(self, out: Path) -> None:
        self.folder = out / CROPS
        self._labels: dict[str, int] = {}

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame\'s objects."""
        image = Image.fromarray(frame.pixels)
        for number, one in enumerate(found, start=1):
            x1, y1, x2, y2 = one.box_xyxy
            box = (int(x1), int(y1), max(int(np.ceil(x2)), int(x1) + 1), max(int(np.ceil(y2)), int(y1) + 1))
            folder = self.folder / self._folder_name(one.name, one.label)
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{safe_name(frame.stem)}_{number}"
            while (folder / f"{name}.jpg").exists():  # of a.jpg and a.png
                name += "_"
            image.crop(box).save(folder / f"{name}.jpg", quality=_JPEG_QUALITY)

    def _folder_name(self, class_name: str, label: int) -> str:
        """Name of the class, with its label if another class has the same folder."""
        name = safe_name(class_name)
        return name if self._labels.setdefault(name.lower(), label) == label else f"{name}_{label}"


def safe_name(text: str) -> str:
    """A text as a file name on every system: letters, digits, and `-_.` inside."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._ ") or "_"
