from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from same_data import SIZES, WITH_SPLITS, WITHOUT_SPLITS, coco_object, write_images, write_json
from voc_folders import make_voc, voc_object, write_voc

from brs_detr.data.checks.check import check_split
from brs_detr.data.formats.coco_folder import find_splits, shared_class_names
from brs_detr.data.writing.convert import convert
from brs_detr.errors import UserError


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return make_voc(tmp_path / "voc")


def annotations(folder: Path, split: str = "train") -> dict:
    return json.loads((folder / "annotations" / f"{split}.json").read_text())


def test_a_folder_is_converted_for_our_own_reader(voc: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    conversion = convert(voc, tmp_path / "coco", progress=lambda *step: steps.append(step))
    splits = find_splits(tmp_path / "coco")
    assert list(splits) == ["train", "val"]
    assert shared_class_names(splits) == conversion.class_names == ["ant", "cat", "dog"]
    assert check_split(splits["train"]).found == ()
    assert [(split.num_images, split.num_boxes) for split in conversion.splits.values()] == [(2, 3), (1, 0)]
    assert (conversion.format, conversion.splits.keys()) == ("Pascal VOC", splits.keys())
    assert steps == [(done, 6) for done in range(1, 7)]  # each image is checked, then copied
    data = annotations(tmp_path / "coco")
    assert [image["file_name"] for image in data["images"]] == ["two.jpg", "one.jpg"]
    assert (tmp_path / "coco" / "val" / "three.jpg").read_bytes() == (voc / "JPEGImages" / "three.jpg").read_bytes()
    assert '"bbox":[4,6,5,2],"area":10,' in (tmp_path / "coco" / "annotations" / "train.json").read_text()
    assert not any("source" in entry for entry in [*data["images"], *data["annotations"]])


@pytest.mark.parametrize("layout", [*WITH_SPLITS, *WITHOUT_SPLITS])
def test_every_format_is_written_and_read_again(tmp_path: Path, layout: str) -> None:
    source = {**WITH_SPLITS, **WITHOUT_SPLITS}[layout](tmp_path / "set")
    conversion = convert(source, tmp_path / "coco")
    assert sorted(conversion.class_names) == ["ant", "cat", "dog"]
    splits = find_splits(tmp_path / "coco")
    assert sum(split.num_images for split in conversion.splits.values()) == len(SIZES)
    assert list(splits) == list(conversion.splits)
    for split in splits.values():
        data = json.loads(split.annotation_file.read_text())
        assert split.image_dir == tmp_path / "coco" / split.name
        assert all((split.image_dir / image["file_name"]).is_file() for image in data["images"])


def test_a_data_set_without_any_object_is_refused(voc: Path, tmp_path: Path) -> None:
    for file in (voc / "Annotations").iterdir():
        file.write_text(file.read_text().replace("object>", "item>").replace("bndbox>", "box>"))
    with pytest.raises(UserError, match="annotation file without any usable box"):
        convert(voc, tmp_path / "coco")
    assert not (tmp_path / "coco").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("object>", "item>", r"Annotations/one\.xml: 2 <bndbox> in no <object>"),
        ("annotation>", "annotations>", r"Annotations/one\.xml: the root element is <annotations>"),
    ],
)
def test_annotations_of_another_kind_are_refused(voc: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    for file in (voc / "Annotations").iterdir():
        file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        convert(voc, tmp_path / "coco")


def test_zero_area_boxes_are_dropped_and_named(voc: Path, tmp_path: Path) -> None:
    write_voc(voc, "three", voc_object("dog", (9, 9, 9, 9)), voc_object("dog", (3, 3, 8, 8)))
    (warning,) = convert(voc, tmp_path / "coco").findings
    assert warning.count == 1 and "Annotations/three.xml, object 1" in str(warning)
    assert len(annotations(tmp_path / "coco", "val")["annotations"]) == 1


def test_images_can_be_linked(voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(voc, tmp_path / "coco", link=True)
    assert (tmp_path / "coco" / "train" / "one.jpg").samefile(voc / "JPEGImages" / "one.jpg")

    def refuse(source: Path, target: Path) -> None:
        raise OSError("another disk")

    monkeypatch.setattr("os.link", refuse)
    convert(voc, tmp_path / "copied", link=True)
    assert (tmp_path / "copied" / "train" / "one.jpg").is_file()


def test_a_box_one_pixel_over_the_edge_is_clipped(voc: Path, tmp_path: Path) -> None:
    write_voc(voc, "three", voc_object("dog", (31, 21, 41, 31)))
    convert(voc, tmp_path / "coco")
    assert annotations(tmp_path / "coco", "val")["annotations"][0]["bbox"] == [30, 20, 10, 10]


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "broken XML": (
        lambda voc: (voc / "Annotations/one.xml").write_text("<a><b></a>"),
        r"annotation file that cannot be read: 1 \(Annotations/one\.xml is not valid XML.*line 1",
    ),
    "broken image": (lambda voc: (voc / "JPEGImages/one.jpg").write_text("x"), r"unreadable image: 1 .*one\.jpg"),
    "scaled image": (
        lambda voc: Image.new("RGB", (20, 15)).save(voc / "JPEGImages/one.jpg"),
        r"one\.jpg.*20 x 15 instead of 40 x 30",
    ),
    "box outside": (
        lambda voc: write_voc(voc, "one", voc_object("dog", (5, 5, 42, 9))),
        r"Annotations/one\.xml, object 1.*\[4, 4, 38, 5\]",
    ),
    "two faults": (
        lambda voc: (
            (voc / "Annotations/three.xml").unlink(),
            write_voc(voc, "one", voc_object("", (1, 2, 3, 4))),
        ),
        r"(?s)object that cannot be read: 1 .*missing annotation file: 1 ",
    ),
    "no format": (lambda voc: (voc / "Annotations").rename(voc / "../x"), "No dataset in"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_named_and_nothing_is_written(voc: Path, tmp_path: Path, name: str) -> None:
    break_it, words = BROKEN[name]
    break_it(voc)
    with pytest.raises(UserError, match=words):
        convert(voc, tmp_path / "coco")
    assert not (tmp_path / "coco").exists()


def test_source_and_result_must_lie_apart(voc: Path) -> None:
    for folder in (voc, voc / "coco", voc.parent):
        with pytest.raises(UserError, match="lie within each other"):
            convert(voc, folder, overwrite=True)


def test_the_images_of_the_source_are_not_overwritten(tmp_path: Path) -> None:
    folder = WITH_SPLITS["YOLO"](tmp_path / "yolo")
    (tmp_path / "configs").mkdir()
    (folder / "data.yaml").rename(tmp_path / "configs" / "data.yaml")
    text = (tmp_path / "configs" / "data.yaml").read_text()
    (tmp_path / "configs" / "data.yaml").write_text(f"path: {folder}\n{text}")
    with pytest.raises(UserError, match="lie within each other"):
        convert(tmp_path / "configs" / "data.yaml", folder, overwrite=True)


def coco_with_names(folder: Path, *names: str) -> Path:
    dataset = coco_object("ab", {"ant": 1, "cat": 2, "dog": 3})
    for image, name in zip(dataset["images"], names, strict=True):
        image["file_name"] = name
    write_json(folder / "all.json", dataset)
    return folder / "all.json"


def test_names_that_lead_out_of_the_folder_are_brought_in(tmp_path: Path) -> None:
    write_images(tmp_path / "else" / "deep", "ab")
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / "else").symlink_to(tmp_path / "else")
    source = coco_with_names(tmp_path / "set", "else/deep/a.jpg", str(tmp_path / "else/deep/b.jpg"))
    convert(source, tmp_path / "coco", allow_outside=True)
    assert [image["file_name"] for image in annotations(tmp_path / "coco", "all")["images"]] == [
        "else/deep/a.jpg",
        "b.jpg",
    ]
    assert (tmp_path / "coco" / "all" / "else" / "deep" / "a.jpg").is_file()


def test_two_names_that_would_become_one_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "images", "a")
    write_images(tmp_path / "else", "a")
    Image.new("RGB", SIZES["b"]).save(tmp_path / "else" / "a.jpg")
    source = coco_with_names(tmp_path / "set", "a.jpg", str(tmp_path / "else" / "a.jpg"))
    with pytest.raises(UserError, match=r"two images that would both be called a\.jpg"):
        convert(source, tmp_path / "coco", allow_outside=True)
    assert not (tmp_path / "coco").exists()


def test_a_file_that_is_listed_twice_is_written_once(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "images", "a")
    dataset = coco_object("a", {"ant": 1, "dog": 3})
    dataset["images"].append({**dataset["images"][0], "id": 7, "file_name": "./a.jpg"})
    write_json(tmp_path / "set" / "all.json", dataset)
    assert convert(tmp_path / "set", tmp_path / "coco", link=True).splits["all"].num_images == 2
    assert [image["file_name"] for image in annotations(tmp_path / "coco", "all")["images"]] == ["a.jpg", "a.jpg"]


def test_boxes_that_all_lack_an_area_are_not_converted_to_none(voc: Path, tmp_path: Path) -> None:
    for stem in ("one", "two", "three"):
        write_voc(voc, stem, voc_object("dog", (9, 9, 9, 9)))
    with pytest.raises(UserError, match="without any usable box, since none has an area: 3 of 3"):
        convert(voc, tmp_path / "coco")


def test_crowds_alone_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = WITH_SPLITS["COCO, ids from 0"](tmp_path / "set")
    for file in (source / "annotations").iterdir():
        data = json.loads(file.read_text())
        for thing in data["annotations"]:
            thing["iscrowd"] = 1
        write_json(file, data)
    with pytest.raises(UserError, match="all are crowds or difficult objects"):
        convert(source, tmp_path / "coco")
    assert not (tmp_path / "coco").exists()
