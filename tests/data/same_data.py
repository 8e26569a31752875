"""One small dataset, written in every format that is understood."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels from 0, the last not included

CLASS_NAMES = ["ant", "cat", "dog"]
SIZES = {"a": (53, 37), "b": (641, 479), "c": (40, 30), "d": (333, 1000)}  # width, height
OBJECTS: dict[str, list[tuple[str, Box]]] = {
    "a": [("dog", (0, 0, 53, 37)), ("ant", (5, 6, 8, 8))],
    "b": [("cat", (17, 3, 640, 478)), ("cat", (100, 101, 203, 307)), ("dog", (333, 0, 335, 479))],
    "c": [],
    "d": [("ant", (1, 998, 332, 1000)), ("cat", (11, 13, 17, 19))],
}
SPLITS = {"train": ("a", "b", "c"), "val": ("d",)}


def write_images(folder: Path, stems: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        Image.new("RGB", SIZES[stem], "teal").save(folder / f"{stem}.jpg", quality=5)


def coco_object(stems: Iterable[str], ids: dict[str, int], prefix: str = "") -> dict:
    dataset: dict = {"images": [], "annotations": [], "categories": [{"id": ids[name], "name": name} for name in ids]}
    for stem in stems:
        image = {"id": len(dataset["images"]), "file_name": f"{prefix}{stem}.jpg"}
        dataset["images"].append({**image, "width": SIZES[stem][0], "height": SIZES[stem][1]})
        for name, (x1, y1, x2, y2) in OBJECTS[stem]:
            entry = {"id": len(dataset["annotations"]), "image_id": image["id"], "category_id": ids[name]}
            dataset["annotations"].append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0})
    return dataset


def write_coco(folder: Path, ids: dict[str, int]) -> Path:
    for split, stems in SPLITS.items():
        write_images(folder / split, stems)
        write_json(folder / "annotations" / f"instances_{split}.json", coco_object(stems, ids))
    return folder


def write_roboflow(folder: Path) -> Path:
    for split, stems in {"train": SPLITS["train"], "valid": SPLITS["val"]}.items():
        write_images(folder / split, stems)
        dataset = coco_object(stems, {"animals": 0, "ant": 1, "cat": 2, "dog": 3})
        for category in dataset["categories"]:
            category["supercategory"] = "none" if category["id"] == 0 else "animals"
        write_json(folder / split / "_annotations.coco.json", dataset)
    return folder


def write_label_studio(folder: Path) -> Path:
    """Without splits, names as Windows writes them."""
    write_images(folder / "images", SIZES)
    write_json(folder / "result.json", coco_object(SIZES, {"ant": 0, "cat": 1, "dog": 2}, "images\\"))
    return folder


def write_cvat(folder: Path) -> Path:
    """Without splits."""
    write_images(folder / "images" / "default", SIZES)
    dataset = coco_object(SIZES, {"ant": 1, "cat": 2, "dog": 3})
    write_json(folder / "annotations" / "instances_default.json", dataset)
    return folder


def voc_text(stem: str) -> str:
    width, height = SIZES[stem]
    things = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2) in OBJECTS[stem]
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation><filename>{stem}.jpg</filename>{size}{things}</annotation>"


def write_voc(folder: Path) -> Path:
    write_images(folder / "JPEGImages", SIZES)
    write_texts(folder / "Annotations", {f"{stem}.xml": voc_text(stem) for stem in SIZES})
    write_texts(folder / "ImageSets" / "Main", {f"{split}.txt": "\n".join(stems) for split, stems in SPLITS.items()})
    return folder


def write_loose_voc(folder: Path) -> Path:
    """Annotations beside the images, as LabelImg and Roboflow write them."""
    for split, stems in {"train": SPLITS["train"], "valid": SPLITS["val"]}.items():
        write_images(folder / split, stems)
        write_texts(folder / split, {f"{stem}.xml": voc_text(stem) for stem in stems})
    return folder


def yolo_text(stem: str) -> str:
    width, height = SIZES[stem]
    rows = (
        (CLASS_NAMES.index(name), (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        for name, (x1, y1, x2, y2) in OBJECTS[stem]
    )
    return "".join(f"{number} {' '.join(f'{value:.6f}' for value in box)}\n" for number, *box in rows)


def write_yolo(folder: Path) -> Path:
    """`images/train`, `labels/train` and so on, described by `data.yaml`."""
    for split, stems in SPLITS.items():
        write_images(folder / "images" / split, stems)
        write_texts(folder / "labels" / split, {f"{stem}.txt": yolo_text(stem) for stem in stems})
    write_texts(folder, {"data.yaml": "train: images/train\nval: images/val\nnc: 3\nnames: [ant, cat, dog]\n"})
    return folder


def write_roboflow_yolo(folder: Path) -> Path:
    for split, stems in {"train": SPLITS["train"], "valid": SPLITS["val"]}.items():
        write_images(folder / split / "images", stems)
        labels = {f"{stem}.txt": yolo_text(stem) for stem in stems if OBJECTS[stem]}
        write_texts(folder / split / "labels", labels)
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 3\nnames: ['ant', 'cat', 'dog']\n"
    write_texts(folder, {"data.yaml": text})
    return folder


def write_side_by_side(folder: Path) -> Path:
    """YOLO without splits and without `data.yaml`, labels beside the images."""
    write_images(folder, SIZES)
    write_texts(folder, {f"{stem}.txt": yolo_text(stem) for stem in SIZES})
    write_texts(folder, {"classes.txt": "ant\ncat\ndog\n"})
    return folder


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_texts(folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


WITH_SPLITS: dict[str, Callable[[Path], Path]] = {
    "COCO, ids from 0": lambda folder: write_coco(folder, {"ant": 0, "cat": 1, "dog": 2}),
    "COCO, ids from 1, listed backwards": lambda folder: write_coco(folder, {"dog": 3, "cat": 2, "ant": 1}),
    "COCO, ids with gaps": lambda folder: write_coco(folder, {"ant": 4, "cat": 17, "dog": 90}),
    "COCO by Roboflow": write_roboflow,
    "Pascal VOC": write_voc,
    "Pascal VOC, loose": write_loose_voc,
    "YOLO": write_yolo,
    "YOLO by Roboflow": write_roboflow_yolo,
}
WITHOUT_SPLITS: dict[str, Callable[[Path], Path]] = {
    "COCO by Label Studio": write_label_studio,
    "COCO by CVAT": write_cvat,
    "YOLO side by side": write_side_by_side,
}
