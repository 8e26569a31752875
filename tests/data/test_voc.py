from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from brs_detr.data.check import check_split
from brs_detr.data.coco_folder import find_splits, shared_class_names
from brs_detr.data.voc import convert_voc
from brs_detr.errors import UserError

OBJECT = "<object><name>{}</name><difficult>{}</difficult><bndbox>{}</bndbox></object>"


def voc_object(name: str, box: tuple, difficult: int = 0) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    return OBJECT.format(name, difficult, "".join(f"<{key}>{value}</{key}>" for key, value in corners))


def write_voc(folder: Path, stem: str, *objects: str, size: tuple[int, int] | None = (40, 30)) -> None:
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), "teal").save(folder / "JPEGImages" / f"{stem}.jpg")
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    (folder / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{stated}{''.join(objects)}</annotation>")


def write_list(folder: Path, split: str, *stems: str) -> None:
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    folder = tmp_path / "voc"
    write_voc(folder, "one", voc_object("dog", (1, 1, 40, 30)), voc_object("cat", (11, 6, 20, 15), difficult=1))
    write_voc(folder, "two", voc_object("ant", (5, 7, 9, 8)), size=None)
    write_voc(folder, "three")
    write_list(folder, "train", "two", "one", "one")
    write_list(folder, "val", "three 1")
    write_list(folder, "trainval", "one", "two", "three")
    return folder


def annotations(folder: Path, split: str = "train") -> dict:
    return json.loads((folder / "annotations" / f"{split}.json").read_text())


def test_a_folder_is_converted_for_our_own_reader(voc: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    conversion = convert_voc(voc, tmp_path / "coco", progress=lambda *step: steps.append(step))
    splits = find_splits(tmp_path / "coco")
    assert list(splits) == ["train", "val"]
    assert shared_class_names(splits) == conversion.class_names == ["ant", "cat", "dog"]
    assert check_split(splits["train"]).found == ()
    assert [(split.num_images, split.num_boxes) for split in conversion.splits.values()] == [(2, 3), (1, 0)]
    assert steps[-1] == (3, 3) and conversion.warnings == ()
    data = annotations(tmp_path / "coco")
    assert [image["file_name"] for image in data["images"]] == ["two.jpg", "one.jpg"]
    assert (tmp_path / "coco" / "val" / "three.jpg").read_bytes() == (voc / "JPEGImages" / "three.jpg").read_bytes()


def test_one_based_inclusive_boxes_become_zero_based(voc: Path, tmp_path: Path) -> None:
    assert convert_voc(voc, tmp_path / "coco").origin == 1
    ant, dog, cat = annotations(tmp_path / "coco")["annotations"]
    assert ant["bbox"] == [4, 6, 5, 2]
    assert dog["bbox"] == [0, 0, 40, 30] and dog["area"] == 1200
    assert (dog["category_id"], dog["iscrowd"]) == (3, 0)
    assert cat["bbox"] == [10, 5, 10, 10] and cat["iscrowd"] == 1  # difficult


def test_zero_based_boxes_are_kept_when_any_box_begins_at_zero(voc: Path, tmp_path: Path) -> None:
    write_voc(voc, "three", voc_object("dog", (0, 3, 10.5, 20)))
    assert convert_voc(voc, tmp_path / "coco").origin == 0
    assert annotations(tmp_path / "coco")["annotations"][0]["bbox"] == [5, 7, 4, 1]
    assert annotations(tmp_path / "coco", "val")["annotations"][0]["bbox"] == [0, 3, 10.5, 17]


def test_zero_area_boxes_are_dropped_and_named(voc: Path, tmp_path: Path) -> None:
    write_voc(voc, "three", voc_object("dog", (9, 9, 9, 9)), voc_object("dog", (3, 3, 8, 8)))
    conversion = convert_voc(voc, tmp_path / "coco")
    (warning,) = conversion.warnings
    assert warning.count == 1 and "three.xml, object 1 (dog)" in str(warning)
    assert len(annotations(tmp_path / "coco", "val")["annotations"]) == 1


def test_images_can_be_linked(voc: Path, tmp_path: Path) -> None:
    convert_voc(voc, tmp_path / "coco", link=True)
    assert (tmp_path / "coco" / "train" / "one.jpg").samefile(voc / "JPEGImages" / "one.jpg")


def test_a_box_one_pixel_over_the_edge_is_clipped(voc: Path, tmp_path: Path) -> None:
    write_voc(voc, "three", voc_object("dog", (31, 21, 41, 31)))
    convert_voc(voc, tmp_path / "coco")
    assert annotations(tmp_path / "coco", "val")["annotations"][0]["bbox"] == [30, 20, 10, 10]


def empty_lists(voc: Path) -> None:
    write_list(voc, "train")
    (voc / "ImageSets" / "Main" / "val.txt").unlink()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "broken XML": (
        lambda voc: (voc / "Annotations/one.xml").write_text("<a><b></a>"),
        r"one\.xml is not valid XML.*line 1",
    ),
    "missing XML": (lambda voc: (voc / "Annotations/one.xml").unlink(), r"Cannot open the annotation file .*one\.xml"),
    "missing image": (lambda voc: (voc / "JPEGImages/one.jpg").unlink(), "no image one.* in JPEGImages"),
    "broken image": (lambda voc: (voc / "JPEGImages/one.jpg").write_text("x"), r"Cannot read the image .*one\.jpg"),
    "scaled image": (
        lambda voc: Image.new("RGB", (20, 15)).save(voc / "JPEGImages/one.jpg"),
        r"one\.jpg is 20 x 15 pixels, but .*one\.xml says 40 x 30",
    ),
    "no name": (lambda voc: write_voc(voc, "one", voc_object("", (1, 2, 3, 4))), r"one\.xml: object 1 has no name"),
    "no corner": (
        lambda voc: write_voc(voc, "one", "<object><name>dog</name></object>"),
        r"one\.xml: xmin of object 1 is None, not a number",
    ),
    "NaN corner": (
        lambda voc: write_voc(voc, "one", voc_object("dog", (1, 2, "nan", 4))),
        r"one\.xml: xmax of object 1 is 'nan', not a number",
    ),
    "box outside": (
        lambda voc: write_voc(voc, "one", voc_object("dog", (5, 5, 42, 9))),
        r"one\.xml, object 1: the box .* lies outside of the image, which is 40 x 30",
    ),
    "no images": (lambda voc: (voc / "JPEGImages").rename(voc / "images"), "has no folder JPEGImages"),
    "no lists": (empty_lists, "No split list"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_named_and_nothing_is_written(voc: Path, tmp_path: Path, name: str) -> None:
    break_it, words = BROKEN[name]
    break_it(voc)
    with pytest.raises(UserError, match=words):
        convert_voc(voc, tmp_path / "coco")
    assert [path.name for path in tmp_path.iterdir()] == ["voc"]


def test_source_and_result_must_lie_apart(voc: Path) -> None:
    for folder in (voc, voc / "coco", voc.parent):
        with pytest.raises(UserError, match="lie within each other"):
            convert_voc(voc, folder, overwrite=True)
