"""Write detections: JSON, CSV, COCO results, YOLO labels, drawn images and videos, crops.

Each writer is a context manager that yields a function to call for every frame. Its files appear under their names when
the context ends, and are deleted if it fails; drawings, labels and crops of single images are written at once and stay.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from brs_detr.files import written_whole
from brs_detr.predict.video import Frame, written_video
from brs_detr.runtime.detections import Detections
from brs_detr.runtime.draw import draw_detections

Write = Callable[[Frame, Detections], None]
"""Writes the detections of a frame."""

FORMATS = {"json": "predictions.json", "csv": "predictions.csv", "coco": "predictions.coco.json", "yolo": "labels"}
CROPS = "crops"
CSV_COLUMNS = ("file", "frame", "seconds", "name", "label", "score", "x1", "y1", "x2", "y2", "width", "height")

_KEPT_SUFFIXES = {".jpg", ".jpeg", ".png"}
_JPEG_QUALITY = 92


@contextmanager
def json_writer(out: Path, header: Mapping[str, Any]) -> Iterator[Write]:
    """Write predictions.json: the header, then for each image its objects with boxes (x1, y1, x2, y2) in pixels."""
    start = json.dumps(header, indent=1).removesuffix("\n}") + ',\n "images": ['
    with _json_list(out / FORMATS["json"], start, end="\n ]\n}\n") as add:

        def write(frame: Frame, found: Detections) -> None:
            entry: dict[str, Any] = {"file": frame.name, "height": frame.size[0], "width": frame.size[1]}
            if frame.index is not None:
                entry |= {"frame": frame.index, "seconds": round(frame.seconds or 0.0, 4)}
            add({**entry, "objects": objects_of(found)})

        yield write


def objects_of(found: Detections) -> list[dict[str, Any]]:
    """Convert detections to plain values, as in predictions.json."""
    return [{"name": one.name, "label": one.label, "score": one.score, "box_xyxy": list(one.box_xyxy)} for one in found]


@contextmanager
def csv_writer(out: Path) -> Iterator[Write]:
    """Write predictions.csv with a row per object."""
    with _text_file(out / FORMATS["csv"]) as file:
        rows = csv.writer(file)
        rows.writerow(CSV_COLUMNS)

        def write(frame: Frame, found: Detections) -> None:
            start = (frame.name, frame.index, None if frame.seconds is None else round(frame.seconds, 4))
            for one in found:
                rows.writerow([*start, one.name, one.label, one.score, *one.box_xyxy, frame.size[1], frame.size[0]])

        yield write


@contextmanager
def coco_writer(out: Path, image_ids: Mapping[str, Any] | None, category_ids: Mapping[str, Any]) -> Iterator[Write]:
    """Write COCO results, a list of objects with boxes (x, y, w, h) in pixels.

    Args:
        out: folder of the results.
        image_ids: image ids by image name; None numbers the images from 1.
        category_ids: category ids by class name.
    """
    num_images = 0
    with _json_list(out / FORMATS["coco"], "[", end="\n]\n") as add:

        def write(frame: Frame, found: Detections) -> None:
            nonlocal num_images
            num_images += 1
            for entry in found.to_coco(num_images if image_ids is None else image_ids[frame.name]):
                add({**entry, "category_id": category_ids[entry["category_name"]]})

        yield write


@contextmanager
def yolo_writer(out: Path, class_names: Sequence[str]) -> Iterator[Write]:
    """Write a text file per image with label, centre, size (as fractions of the image) and score; and classes.txt."""
    folder, taken = out / FORMATS["yolo"], {"classes"}

    def write(frame: Frame, found: Detections) -> None:
        h, w = frame.size
        lines = []
        for one in found:
            x1, y1, x2, y2 = one.box_xyxy
            numbers = ((x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h, one.score)
            lines.append(f"{one.label} {' '.join(f'{number:.6f}' for number in numbers)}\n")
        name = frame.long_stem if frame.stem.lower() in taken else frame.stem  # for a.jpg and a.png
        taken.add(name.lower())
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")

    yield write
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")


@contextmanager
def drawing_writer(out: Path, fps: Mapping[str, float]) -> Iterator[Write]:
    """Draw the objects on images, and on a copy of each video.

    Args:
        out: folder of the results.
        fps: frames per second of the drawn videos by name.
    """
    with ExitStack() as stack:
        names = zip(fps, drawn_video_names(list(fps)), strict=True)
        videos = {name: stack.enter_context(written_video(out / drawn, fps[name])) for name, drawn in names}

        def write(frame: Frame, found: Detections) -> None:
            if frame.index is None:
                path = out / drawn_image_name(frame.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                found.draw(frame.pixels).save(path)
            else:
                boxes, labels, scores = found.boxes_xyxy, found.labels, found.scores
                drawn = draw_detections(frame.pixels, boxes, labels, scores, class_names=found.class_names, min_side=0)
                videos[frame.name](np.asarray(drawn))

        yield write


@contextmanager
def crop_writer(out: Path) -> Iterator[Write]:
    """Write a JPEG of each object to a folder per class."""
    labels: dict[str, int] = {}

    def write(frame: Frame, found: Detections) -> None:
        image = Image.fromarray(frame.pixels)
        for number, one in enumerate(found, start=1):
            x1, y1, x2, y2 = one.box_xyxy
            box = (int(x1), int(y1), max(int(np.ceil(x2)), int(x1) + 1), max(int(np.ceil(y2)), int(y1) + 1))
            folder_name = safe_name(one.name)
            if labels.setdefault(folder_name.lower(), one.label) != one.label:  # two classes with one safe name
                folder_name = f"{folder_name}_{one.label}"
            folder = out / CROPS / folder_name
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{safe_name(frame.stem)}_{number}"
            while (folder / f"{name}.jpg").exists():  # for a.jpg and a.png
                name += "_"
            image.crop(box).save(folder / f"{name}.jpg", quality=_JPEG_QUALITY)

    yield write


def drawn_image_name(name: str) -> str:
    """Return the name of the drawn copy of an image: the same, or a PNG if its format cannot be written."""
    return name if Path(name).suffix.lower() in _KEPT_SUFFIXES else f"{name}.png"


def drawn_video_names(names: Sequence[str]) -> list[str]:
    """Return the names of the drawn copies of videos: without suffix, or with it if several videos share a stem."""
    stems = [Path(name).with_suffix("").as_posix() for name in names]
    counts = Counter(stem.lower() for stem in stems)
    chosen = (stem if counts[stem.lower()] == 1 else name for name, stem in zip(names, stems, strict=True))
    return [f"{name}_found.mp4" for name in chosen]


def safe_name(text: str) -> str:
    """Turn a text into a file name for every system, of letters, digits, and `-_.` inside."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._ ") or "_"


@contextmanager
def _text_file(path: Path) -> Iterator[IO[str]]:
    with (
        written_whole(path) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        yield file


@contextmanager
def _json_list(path: Path, start: str, end: str) -> Iterator[Callable[[Any], None]]:
    """Yield a function that appends an entry to the list between `start` and `end`."""
    with _text_file(path) as file:
        file.write(start)
        separator = "\n"

        def add(entry: Any) -> None:
            nonlocal separator
            file.write(separator + json.dumps(entry))
            separator = ",\n"

        yield add
        file.write(end)
