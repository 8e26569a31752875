"""Ways to break the good dataset, and what must be said of each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from good_data import STEMS, WRITERS, coco_object, edit_coco, edit_text, write_image, write_text
from PIL import Image

from brs_detr.data.kinds import Severity


class Broken(NamedTuple):
    """How to break a good dataset, and what must be said of it."""

    break_it: Callable[[Path], object]
    severity: Severity
    what: str
    example: str  # pattern
    form: str = "COCO"
    others: tuple[str, ...] = ()  # errors and warnings that follow from it


def box(place: int, *numbers: float, split: str = "train") -> Callable[[Path], object]:
    return lambda folder: edit_coco(folder, lambda data: data["annotations"][place].update(bbox=list(numbers)), split)


def entry(section: str, place: int, split: str = "train", **fields: object) -> Callable[[Path], object]:
    return lambda folder: edit_coco(folder, lambda data: data[section][place].update(fields), split)


def added(section: str, split: str = "train", **fields: object) -> Callable[[Path], object]:
    return lambda folder: edit_coco(folder, lambda data: data[section].append(fields), split)


def removed(section: str, place: int, key: str) -> Callable[[Path], object]:
    return lambda folder: edit_coco(folder, lambda data: data[section][place].pop(key))


def again(place: int, split: str = "train", **fields: object) -> Callable[[Path], object]:
    def change(data: dict) -> None:
        data["annotations"].append({**data["annotations"][place], "id": 900, **fields})

    return lambda folder: edit_coco(folder, change, split)


def annotation_file(content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "annotations" / "train.json").write_text(content)


def text(file: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: edit_text(folder / file, old, new)


def cut(folder: Path) -> None:
    path = folder / "train" / "t01.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def spoil(folder: Path) -> None:
    path = folder / "train" / "t11.png"
    content = bytearray(path.read_bytes())
    middle = content.index(b"IDAT") + 20
    content[middle : middle + 8] = bytes(8)
    path.write_bytes(content)


def shrink(folder: Path) -> None:
    Image.open(folder / "train" / "t02.jpg").resize((32, 24)).save(folder / "train" / "t02.jpg")


def turn(folder: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.open(folder / "train" / "t03.jpg").copy()
    picture.save(folder / "train" / "t03.jpg", exif=exif)


def other_classes(folder: Path) -> None:
    edit_coco(folder, lambda data: data["categories"].append({"id": 3, "name": "dog"}), "val")


def only_classes(split: str, *category_ids: int) -> Callable[[Path], object]:
    def change(data: dict) -> None:
        data["annotations"] = [thing for thing in data["annotations"] if thing["category_id"] in category_ids]

    return lambda folder: edit_coco(folder, change, split)


def fewer_boxes(data: dict) -> None:
    data["annotations"] = [thing for thing in data["annotations"] if thing["category_id"] == 1 or thing["id"] < 11]


def emptied(data: dict) -> None:
    data["annotations"].clear()


def without_objects(data: dict) -> None:
    data["annotations"] = [thing for thing in data["annotations"] if thing["image_id"] != 5]


def for_both_splits(change: Callable[[dict], object]) -> Callable[[Path], object]:
    return lambda folder: [edit_coco(folder, change, split) for split in STEMS]


def lone_image(folder: Path) -> None:
    write_text(folder / "annotations" / "train.json", json.dumps(coco_object(["t00"])))
    (folder / "annotations" / "val.json").unlink()


def rename_split(old: str, new: str) -> Callable[[Path], object]:
    def rename(folder: Path) -> None:
        (folder / old).rename(folder / new)
        (folder / "annotations" / f"{old}.json").rename(folder / "annotations" / f"{new}.json")

    return rename


def saved_again(folder: Path) -> None:
    picture = Image.open(folder / "train" / "t04.jpg").copy()
    picture.save(folder / "val" / "v01.jpg", quality=70)


ERRORS: dict[str, Broken] = {
    "missing image": Broken(
        lambda folder: (folder / "train" / "t05.jpg").unlink(), "error", "missing image file", r"image 6, .*t05.jpg"
    ),
    "text as image": Broken(
        lambda folder: (folder / "train" / "t05.jpg").write_text("<html>404"),
        "error",
        "unreadable image",
        "image 6, .*t05.jpg: it is not an image",
    ),
    "truncated image": Broken(cut, "error", "unreadable image", "image 2, .*t01.jpg: .*truncated"),
    "scaled image": Broken(
        shrink, "error", "image of another size than stated", "image 3, .*t02.jpg: 32 x 24 instead of 64 x 48"
    ),
    "sideways image": Broken(
        lambda folder: turn(folder, 6),
        "error",
        "image annotated without the rotation that its EXIF data ask for",
        "image 4, .*t03.jpg: 48 x 64 instead of 64 x 48",
    ),
    "width and height exchanged": Broken(
        entry("images", 0, width=48, height=64),
        "error",
        "image whose stated width is its height",
        "image 1, .*t00.jpg: 64 x 48 instead of 48 x 64",
        others=("box outside of the image",),
    ),
    "ids off by one": Broken(
        for_both_splits(lambda data: [thing.update(id=thing["id"] + 1) for thing in data["categories"]]),
        "error",
        "category ids that are all off by one",
        "1 to 2 in the annotations, 2 to 3 in the list",
        others=("category id without a category", "class without any box"),
    ),
    "box outside": Broken(
        box(2, 60, 5, 10, 10), "error", "box outside of the image", r"annotation 3, image 2 \(t01.jpg, 64 x 48\): \[60"
    ),
    "NaN box": Broken(
        box(2, float("nan"), 5, 10, 10), "error", "box with a NaN or infinite coordinate", "annotation 3, image 2 .*nan"
    ),
    "infinite box": Broken(
        box(2, 1, 5, 1e999, 10), "error", "box with a NaN or infinite coordinate", "annotation 3, image 2 .*inf"
    ),
    "unknown category": Broken(
        entry("annotations", 0, category_id=7), "error", "category id without a category", "annotation 1: category 7"
    ),
    "unknown image": Broken(
        entry("annotations", 0, image_id=99), "error", "annotation of an unknown image", "annotation 1: image 99"
    ),
    "image id twice": Broken(
        entry("images", 1, id=1),
        "error",
        "duplicate id",
        "images: id 1 2 times",
        others=("annotation of an unknown image",),
    ),
    "annotation id twice": Broken(entry("annotations", 1, id=1), "error", "duplicate id", "annotations: id 1 2 times"),
    "category id twice": Broken(
        for_both_splits(lambda data: data["categories"][1].update(id=1)),
        "error",
        "duplicate id",
        "categories: id 1 2 times",
        others=("category id without a category", "class without any box"),
    ),
    "class name twice": Broken(
        for_both_splits(lambda data: data["categories"][1].update(name="ant")),
        "error",
        "duplicate class name",
        "'ant' 2 times",
    ),
    "class without a name": Broken(
        for_both_splits(lambda data: data["categories"][1].update(name=" ")), "error", "class without a name", "class 2"
    ),
    "no box at all": Broken(
        lambda folder: edit_coco(folder, emptied),
        "error",
        "annotation file without any usable box",
        "nothing to learn from",
        others=("class that is measured and not trained",),
    ),
    "no size": Broken(removed("images", 0, "width"), "error", "malformed entry", r"images\[0\] has no 'width'"),
    "no box key": Broken(removed("annotations", 0, "bbox"), "error", "malformed entry", r"annotations\[0\] has no"),
    "text as id": Broken(entry("images", 0, id="1"), "error", "malformed entry", r"images\[0\] is '1', not an integer"),
    "three numbers": Broken(box(0, 1, 2, 3), "error", "malformed entry", "not a list of four numbers"),
    "cut JSON": Broken(
        annotation_file('{"images": ['),
        "error",
        "annotations that cannot be read",
        "train.json is not valid JSON.*line 1",
    ),
    "JSON list": Broken(
        annotation_file("[1, 2]"), "error", "annotations that cannot be read", "train.json holds a JSON list"
    ),
    "no list of images": Broken(
        annotation_file('{"annotations": [], "categories": []}'),
        "error",
        "annotations that cannot be read",
        "train.json has no list 'images'",
    ),
    "classes of one split": Broken(
        other_classes,
        "error",
        "classes that not every split names",
        "Only one of .*train.json and .*val.json .*dog",
        others=("class without any box",),
    ),
    "no training split": Broken(
        rename_split("train", "test"), "error", "no split to train with", "has no train split, only val, test"
    ),
    "one image": Broken(
        lone_image,
        "error",
        "data that cannot be divided for training",
        "train.json has 1 images, none of which can be held out",
        others=("rare class",),
    ),
    "VOC: listed image missing": Broken(
        lambda folder: (folder / "JPEGImages" / "t05.jpg").unlink(),
        "error",
        "missing image file",
        "Annotations/t05.xml",
        "Pascal VOC",
    ),
    "VOC: listed annotation missing": Broken(
        lambda folder: (folder / "Annotations" / "t05.xml").unlink(),
        "error",
        "missing annotation file",
        "t05.xml, named in ImageSets/Main/train.txt",
        "Pascal VOC",
    ),
    "VOC: broken XML": Broken(
        text("Annotations/t05.xml", "</annotation>", ""),
        "error",
        "annotation file that cannot be read",
        "Annotations/t05.xml",
        "Pascal VOC",
    ),
    "VOC: object without a name": Broken(
        text("Annotations/t05.xml", "<name>ant</name>", ""),
        "error",
        "object that cannot be read",
        "Annotations/t05.xml, object 1",
        "Pascal VOC",
    ),
    "VOC: other size": Broken(
        text("Annotations/t05.xml", "<width>64", "<width>640"),
        "error",
        "image of another size than stated",
        r"Annotations/t05.xml\).*64 x 48 instead of 640 x 48",
        "Pascal VOC",
        others=("tiny box",),
    ),
    "VOC: box outside": Broken(
        text("Annotations/t05.xml", "<xmax>27", "<xmax>270"),
        "error",
        "box outside of the image",
        r"Annotations/t05.xml, object 1\), image 6 \(t05.jpg",
        "Pascal VOC",
    ),
    "YOLO: unknown class number": Broken(
        text("labels/train/t05.txt", "1 ", "5 "),
        "error",
        "class number without a name",
        "labels/train/t05.txt, line 2: class 5",
        "YOLO",
    ),
    "YOLO: pixels": Broken(
        text("labels/train/t05.txt", "0 0.", "0 20."),
        "error",
        "row in pixels instead of fractions",
        "labels/train/t05.txt, line 1",
        "YOLO",
    ),
    "YOLO: words": Broken(
        text("labels/train/t05.txt", "0 0.", "ant 0."),
        "error",
        "object that cannot be read",
        "labels/train/t05.txt, line 1",
        "YOLO",
    ),
    "YOLO: unreadable image": Broken(
        lambda folder: (folder / "images" / "train" / "t05.jpg").write_text(""),
        "error",
        "unreadable image",
        "t05.jpg: it is empty",
        "YOLO",
    ),
    "YOLO: damaged text": Broken(
        lambda folder: (folder / "labels" / "train" / "t05.txt").write_bytes(b"\xff0 1"),
        "error",
        "annotation file that is not text in UTF-8",
        "labels/train/t05.txt is not text",
        "YOLO",
    ),
}

REST: dict[str, Broken] = {
    "zero-area box": Broken(box(2, 5, 5, 0, 9), "warning", "zero-area box", r"annotation 3, image 2 \(t01.jpg"),
    "negative width": Broken(box(2, 25, 5, -9, 9), "warning", "zero-area box", r"annotation 3, .*\[25, 5, -9, 9\]"),
    "box twice": Broken(again(4), "warning", "box drawn twice", r"annotation 900, image 3 .*, as annotation 5"),
    "box of two classes": Broken(
        again(4, category_id=2), "warning", "one box with two classes", "annotation 900, image 3 .*, as annotation 5"
    ),
    "tiny box": Broken(box(2, 5, 5, 1.5, 9), "warning", "tiny box", "annotation 3, .* 3.0 x 18.0 after resizing"),
    "narrow box": Broken(
        box(2, 5, 5, 9, 0.5), "warning", "box narrower than 1 pixel", "annotation 3, image 2", others=("tiny box",)
    ),
    "file listed twice": Broken(
        added("images", id=90, file_name="./t00.jpg", width=64, height=48),
        "warning",
        "image file that is listed twice",
        "t00.jpg: image 90, and image 1",
    ),
    "picture twice": Broken(
        lambda folder: shutil.copy(folder / "train" / "t06.jpg", folder / "train" / "t07.jpg"),
        "warning",
        "image that is there twice in one split",
        r"train image 8 \(t07.jpg\), as train image 7 \(t06.jpg\)",
    ),
    "leaked picture": Broken(
        lambda folder: shutil.copy(folder / "train" / "t06.jpg", folder / "val" / "v02.jpg"),
        "warning",
        "image that is in two splits",
        r"val image 3 \(v02.jpg\), as train image 7 \(t06.jpg\)",
    ),
    "picture saved again": Broken(
        saved_again,
        "warning",
        "image that is nearly the same in two splits",
        r"val image 2 \(v01.jpg\), as train image 5 \(t04.jpg\)",
    ),
    "unused class": Broken(
        for_both_splits(lambda data: data["categories"].append({"id": 9, "name": "dog"})),
        "warning",
        "class without any box",
        "'dog'",
    ),
    "rare class": Broken(
        lambda folder: edit_coco(folder, fewer_boxes), "warning", "rare class", "'cat': 5 boxes to train with"
    ),
    "untrained class": Broken(
        only_classes("train", 1), "warning", "class that is measured and not trained", "'cat': 5 boxes in val"
    ),
    "unmeasured class": Broken(
        only_classes("val", 2), "warning", "class that is trained and not measured", "'ant': 12 boxes in train"
    ),
    "similar names": Broken(
        for_both_splits(lambda data: data["categories"][1].update(name="Ant ")),
        "warning",
        "class names that differ only in",
        "'ant', 'Ant '",
    ),
    "test instead of val": Broken(
        rename_split("val", "test"), "warning", "no split to measure with while training", "train, test"
    ),
    "YOLO: label without image": Broken(
        lambda folder: write_text(folder / "labels" / "train" / "lost.txt", "0 0.5 0.5 0.1 0.1\n"),
        "warning",
        "annotation file without an image",
        "labels/train/lost.txt",
        "YOLO",
    ),
    "YOLO: wrong number of names": Broken(
        text("data.yaml", "nc: 2", "nc: 3"), "warning", "number of classes that does not fit", "nc is 3", "YOLO"
    ),
    "VOC: zero-area box": Broken(
        text("Annotations/t05.xml", "<xmax>27", "<xmax>8"),
        "warning",
        "zero-area box",
        r"Annotations/t05.xml, object 1\)",
        "Pascal VOC",
    ),
    "overhang": Broken(
        box(2, 44, 5, 20.7, 9), "note", "box that sticks out of the image by a pixel or less", "annotation 3, image 2"
    ),
    "whole image": Broken(box(2, 0, 0, 64, 48), "note", "box over the whole image", "annotation 3, image 2"),
    "turned image": Broken(lambda folder: turn(folder, 3), "note", "image with an EXIF rotation", "image 4, .*t03.jpg"),
    "empty image": Broken(
        lambda folder: edit_coco(folder, without_objects), "note", "image without any object", "image 5, .*t04.jpg"
    ),
    "unlisted image": Broken(
        lambda folder: write_image(folder / "train", "x00"),
        "note",
        "image in the folder that no annotation file lists",
        "train/x00.jpg",
    ),
    "no val split": Broken(
        lambda folder: (folder / "annotations" / "val.json").unlink(), "note", "no split to measure with", "made: 80 %"
    ),
}


def make_broken(folder: Path, name: str) -> Broken:
    """Write a good dataset and break it."""
    broken = {**ERRORS, **REST}[name]
    WRITERS[broken.form](folder)
    broken.break_it(folder)
    return broken
