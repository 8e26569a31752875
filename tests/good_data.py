"""A dataset without any fault, in every format, to be broken by a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASS_NAMES = ("ant", "cat")
SIZE = (64, 48)  # width, height
STEMS = {"train": [f"t{number:02d}" for number in range(12)], "val": [f"v{number:02d}" for number in range(5)]}

Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels from 0, the last not included


def file_name(stem: str) -> str:
    return f"{stem}.png" if stem == "t11" else f"{stem}.jpg"


def objects(stem: str) -> list[tuple[str, Box]]:
    at = int(stem[1:])
    return [("ant", (2 + at, 4, 22 + at, 20)), ("cat", (30, 20 + at, 50, 35 + at))]


def write_image(folder: Path, stem: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    seed = [ord(letter) for letter in stem]
    blocks = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize(SIZE, Image.Resampling.NEAREST).save(folder / file_name(stem), quality=95)


def write_text(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def coco_object(stems: list[str]) -> dict[str, Any]:
    categories = [{"id": 1, "name": "ant"}, {"id": 2, "name": "cat"}]
    dataset: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    for image_id, stem in enumerate(stems, start=1):
        entry = {"id": image_id, "file_name": file_name(stem), "width": SIZE[0], "height": SIZE[1]}
        dataset["images"].append(entry)
        for name, (x1, y1, x2, y2) in objects(stem):
            number = len(dataset["annotations"]) + 1
            category = CLASS_NAMES.index(name) + 1
            box = {"id": number, "image_id": image_id, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            dataset["annotations"].append(box)
    return dataset


def write_good_coco(folder: Path) -> Path:
    """`annotations/SPLIT.json` and `SPLIT/`."""
    for split, stems in STEMS.items():
        for stem in stems:
            write_image(folder / split, stem)
        write_text(folder / "annotations" / f"{split}.json", json.dumps(coco_object(stems)))
    return folder


def write_good_voc(folder: Path) -> Path:
    """`JPEGImages/`, `Annotations/` and `ImageSets/Main/SPLIT.txt`."""
    for split, stems in STEMS.items():
        for stem in stems:
            write_image(folder / "JPEGImages", stem)
            things = "".join(
                f"<object><name>{name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
                f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
                for name, (x1, y1, x2, y2) in objects(stem)
            )
            size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
            write_text(folder / "Annotations" / f"{stem}.xml", f"<annotation>{size}{things}</annotation>")
        write_text(folder / "ImageSets" / "Main" / f"{split}.txt", "\n".join(stems))
    return folder


def write_good_yolo(folder: Path) -> Path:
    """`images/SPLIT`, `labels/SPLIT` and `data.yaml`."""
    width, height = SIZE
    for split, stems in STEMS.items():
        for stem in stems:
            write_image(folder / "images" / split, stem)
            rows = [
                f"{CLASS_NAMES.index(name)} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
                f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
                for name, (x1, y1, x2, y2) in objects(stem)
            ]
            write_text(folder / "labels" / split / f"{stem}.txt", "".join(rows))
    write_text(folder / "data.yaml", "train: images/train\nval: images/val\nnc: 2\nnames: [ant, cat]\n")
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "COCO": write_good_coco,
    "Pascal VOC": write_good_voc,
    "YOLO": write_good_yolo,
}


def edit_coco(folder: Path, change: Callable[[dict[str, Any]], object], split: str = "train") -> None:
    """Change the annotation file of a split."""
    file = folder / "annotations" / f"{split}.json"
    dataset = json.loads(file.read_text())
    change(dataset)
    file.write_text(json.dumps(dataset))


def edit_text(file: Path, old: str, new: str) -> None:
    """Replace the first occurrence of a text that is there."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
