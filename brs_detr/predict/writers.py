"""What was found, as files: JSON, CSV, COCO results and YOLO labels."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from brs_detr.predict.frame import Frame
from brs_detr.runtime.detections import Detections

FORMATS = {"json": "predictions.json", "csv": "predictions.csv", "coco": "predictions.coco.json", "yolo": "labels"}


class _Growing:
    """A text file that grows under another name and gets its own when it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: IO[str] = self._partial.open("w", encoding="utf-8", errors="backslashreplace", newline="")

    def close(self) -> None:
        """Give it its name."""
        self.file.close()
        self._partial.replace(self.path)

    def discard(self) -> None:
        """Leave nothing behind."""
        self.file.close()
        self._partial.unlink(missing_ok=True)


class JsonWriter(_Growing):
    """One entry an image with its objects, boxes (x1, y1, x2, y2) in pixels.

    Args:
        out: folder.
        header: goes before the images.
    """

    def __init__(self, out: Path, header: Mapping[str, Any]) -> None:
        super().__init__(out / FORMATS["json"])
        self.file.write(json.dumps(header, indent=1).removesuffix("\n}") + ',\n "images": [')
        self._separator = "\n"

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame's objects."""
        entry: dict[str, Any] = {"file": frame.name, "height": frame.size[0], "width": frame.size[1]}
        if frame.index is not None:
            entry |= {"frame": frame.index, "seconds": round(frame.seconds or 0.0, 4)}
        entry["objects"] = [
            {"name": one.name, "label": one.label, "score": one.score, "box_xyxy": list(one.box_xyxy)} for one in found
        ]
        self.file.write(self._separator + json.dumps(entry))
        self._separator = ",\n"

    def close(self) -> None:
        """Finish the file."""
        self.file.write("\n ]\n}\n")
        super().close()


class CsvWriter(_Growing):
    """One row an object.

    Args:
        out: folder.
    """

    HEAD = ("file", "frame", "seconds", "name", "label", "score", "x1", "y1", "x2", "y2", "width", "height")

    def __init__(self, out: Path) -> None:
        super().__init__(out / FORMATS["csv"])
        self._rows = csv.writer(self.file)
        self._rows.writerow(self.HEAD)

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame's objects."""
        place = (frame.name, frame.index, None if frame.seconds is None else round(frame.seconds, 4))
        for one in found:
            self._rows.writerow([*place, one.name, one.label, one.score, *one.box_xyxy, frame.size[1], frame.size[0]])


class CocoWriter(_Growing):
    """A list of COCO results; boxes are (x, y, w, h) in pixels.

    Args:
        out: folder.
        image_ids: by the names of the images; without them, images are numbered from 1 in the order in which they come.
        category_ids: by the names of the classes.
    """

    def __init__(self, out: Path, image_ids: Mapping[str, Any] | None, category_ids: Mapping[str, Any]) -> None:
        self._image_ids, self._category_ids = image_ids, category_ids
        super().__init__(out / FORMATS["coco"])
        self.file.write("[")
        self._separator, self._count = "\n", 0

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame's objects."""
        self._count += 1
        image_id = self._count if self._image_ids is None else self._image_ids[frame.name]
        for entry in found.to_coco(image_id):
            entry["category_id"] = self._category_ids[entry["category_name"]]
            self.file.write(self._separator + json.dumps(entry))
            self._separator = ",\n"

    def close(self) -> None:
        """Finish the file."""
        self.file.write("\n]\n")
        super().close()


class YoloWriter:
    """A text file an image: class, centre and size as shares of the image's, score; and `classes.txt`.

    Args:
        out: folder.
        class_names: in the order of their labels.
    """

    def __init__(self, out: Path, class_names: tuple[str, ...]) -> None:
        self.folder, self.class_names = out / FORMATS["yolo"], class_names
        self._written = {"classes"}

    def add(self, frame: Frame, found: Detections) -> None:
        """Write one frame's objects."""
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
        """Write the names of the classes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "classes.txt").write_text("".join(f"{name}\n" for name in self.class_names), encoding="utf-8")

    def discard(self) -> None:
        """Files of images that are done stay."""
