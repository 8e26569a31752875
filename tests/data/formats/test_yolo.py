from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from same_data import write_json, write_texts

from brs_detr.data.findings import MISSING_IMAGE, UNREADABLE_IMAGE, FaultKind
from brs_detr.data.formats.source import open_source
from brs_detr.data.formats.source_faults import (
    BROKEN_LABEL_FILE,
    BROKEN_OBJECT,
    LABEL_WITHOUT_IMAGE,
    MISSING_SPLIT,
    OUTSIDE_OF_SPLITS,
)
from brs_detr.data.formats.source_names import EMPTY_NAME, SIMILAR_NAMES
from brs_detr.data.formats.source_split import SplitContent
from brs_detr.data.formats.yolo import UNKNOWN_CLASS
from brs_detr.data.formats.yolo_folder import WRONG_COUNT
from brs_detr.data.formats.yolo_names import NUMBERED_NAMES
from brs_detr.errors import UserError

ROW = "0 0.5 0.5 0.5 0.4\n"
BOX = [10, 9, 20, 12]
YAML = "train: images/train\nval: images/val\nnames: [ant, bee]\n"


def write_pictures(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / name)


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    folder = tmp_path / "yolo"
    write_pictures(folder, "images/train/a.jpg", "images/train/b.jpg", "images/val/c.png")
    write_texts(folder / "labels" / "train", {"a.txt": f"{ROW}1{ROW[1:]}", "b.txt": ""})
    write_texts(folder / "labels" / "val", {"c.txt": ROW})
    write_texts(folder, {"data.yaml": YAML})
    return folder


def read(folder: Path, split: str = "train") -> SplitContent:
    return open_source(folder).splits[split].read()


def names(content: SplitContent) -> list[str]:
    return [category["name"] for category in content.dataset["categories"]]


def files(content: SplitContent) -> list[str]:
    return [image["file_name"] for image in content.dataset["images"]]


def found(content: SplitContent, kind: FaultKind) -> list[str]:
    return [example for finding in content.findings if finding.kind == kind for example in finding.examples]


def test_boxes_become_pixels_and_say_where_they_stand(yolo: Path) -> None:
    source = open_source(yolo)
    assert [(split.name, split.image_dir, split.file) for split in source.splits.values()] == [
        ("train", yolo / "images/train", yolo / "images/train"),
        ("val", yolo / "images/val", yolo / "images/val"),
    ]
    content = read(yolo)
    assert content.findings == () and names(content) == ["ant", "bee"] and files(content) == ["a.jpg", "b.jpg"]
    assert [category["id"] for category in content.dataset["categories"]] == [1, 2]
    first, second = content.dataset["annotations"]
    assert (first["bbox"], first["category_id"], first["iscrowd"]) == (BOX, 1, 0)
    assert (second["category_id"], second["source"]) == (2, "labels/train/a.txt, line 2")
    assert [image["source"] for image in content.dataset["images"]] == ["labels/train/a.txt", "labels/train/b.txt"]


def test_sizes_are_those_after_exif_rotation(yolo: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40)).save(yolo / "images/train/a.jpg", exif=exif)
    image = read(yolo).dataset["images"][0]
    assert (image["width"], image["height"]) == (40, 30)
    assert read(yolo).dataset["annotations"][0]["bbox"] == BOX


def test_an_image_without_a_label_file_has_no_object(yolo: Path) -> None:
    (yolo / "labels/train/b.txt").unlink()
    content = read(yolo)
    assert files(content) == ["a.jpg", "b.jpg"] and content.findings == ()
    assert content.dataset["images"][1]["source"] == "images/train/b.jpg"


LABEL = Path("labels/train/a.txt")
BROKEN: dict[str, tuple[Callable[[Path], Any], FaultKind, str]] = {
    "class without a name": (
        lambda yolo: (yolo / LABEL).write_text("2 0.5 0.5 0.1 0.1"),
        UNKNOWN_CLASS,
        "labels/train/a.txt, line 1: class 2, but data.yaml has 2 names, numbered from 0",
    ),
    "words": (lambda yolo: (yolo / LABEL).write_text("x"), BROKEN_OBJECT, "labels/train/a.txt, line 1: 'x' are not"),
    "binary": (lambda yolo: (yolo / LABEL).write_bytes(b"\xff"), BROKEN_LABEL_FILE, "labels/train/a.txt is not text"),
    "broken image": (
        lambda yolo: (yolo / "images/train/a.jpg").write_text("x"),
        UNREADABLE_IMAGE,
        "a.jpg: it is not an image",
    ),
    "label without an image": (
        lambda yolo: (yolo / "images/train/b.jpg").unlink(),
        LABEL_WITHOUT_IMAGE,
        "labels/train/b.txt",
    ),
    "wrong nc": (
        lambda yolo: write_texts(yolo, {"data.yaml": f"{YAML}nc: 3\n"}),
        WRONG_COUNT,
        "nc is 3, but there are 2 names",
    ),
    "name without a letter": (
        lambda yolo: write_texts(yolo, {"data.yaml": YAML.replace("bee", "' '")}),
        EMPTY_NAME,
        "data.yaml, class 2 of the list",
    ),
    "names alike": (
        lambda yolo: write_texts(yolo, {"data.yaml": YAML.replace("bee", "Ant")}),
        SIMILAR_NAMES,
        "data.yaml: 'ant', 'Ant'",
    ),
    "no names": (
        lambda yolo: write_texts(yolo, {"data.yaml": YAML.replace("names: [ant, bee]", "nc: 2")}),
        NUMBERED_NAMES,
        "2 classes",
    ),
    "empty split": (
        lambda yolo: write_texts(yolo, {"data.yaml": f"{YAML}test: ../test/images"}),
        MISSING_SPLIT,
        "data.yaml, test: ../test/images",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_a_finding_and_the_rest_is_read(yolo: Path, name: str) -> None:
    break_it, kind, words = BROKEN[name]
    break_it(yolo)
    content = read(yolo)
    (text,) = found(content, kind)
    assert words in text and len(content.findings) == 1
    assert files(content) and len(content.dataset["categories"]) == 2
    assert found(read(yolo, "val"), kind) == []  # said once


def test_names_that_are_nowhere_are_made_up_for_all_splits_alike(yolo: Path) -> None:
    (yolo / "data.yaml").unlink()
    write_texts(yolo / "labels" / "val", {"c.txt": "3 0.5 0.5 0.1 0.1"})
    made = ["class_0", "class_1", "class_2", "class_3"]
    assert names(read(yolo)) == names(read(yolo, "val")) == made


def test_numbers_may_have_gaps(yolo: Path) -> None:
    write_texts(yolo, {"data.yaml": YAML.replace("[ant, bee]", "{0: ant, 7: bee}")})
    write_texts(yolo / "labels" / "train", {"a.txt": "7 0.5 0.5 0.1 0.1\n3 0.5 0.5 0.1 0.1"})
    content = read(yolo)
    assert names(content) == ["ant", "bee"]
    assert [entry["category_id"] for entry in content.dataset["annotations"]] == [8]
    assert "line 2: class 3" in found(content, UNKNOWN_CLASS)[0]


def test_names_of_two_classes_alike_are_left_to_the_check(yolo: Path) -> None:
    write_texts(yolo, {"data.yaml": YAML.replace("bee", "ant")})
    assert read(yolo).findings == () and names(read(yolo)) == ["ant", "ant"]


def test_the_yaml_may_name_lists_several_folders_and_images(yolo: Path) -> None:
    write_pictures(yolo, "more/images/d.jpg", "images/e.jpg")
    write_texts(yolo / "more" / "labels", {"d.txt": ROW})
    write_texts(yolo, {"train.txt": f"./images/train/a.jpg\n{yolo}/images/train/a.jpg\n\n/else/images/train/x.jpg\n"})
    text = "train: [train.txt, more/images, images/e.jpg]\nval: images/val\nnames: [ant, bee]\n"
    write_texts(yolo, {"data.yaml": text})
    source = open_source(yolo)
    content = source.splits["train"].read()
    assert files(content) == ["images/train/a.jpg", "more/images/d.jpg", "images/e.jpg"]
    assert (source.splits["train"].image_dir, source.splits["train"].file) == (yolo, yolo / "data.yaml")
    assert found(content, MISSING_IMAGE) == ["/else/images/train/x.jpg, named in train.txt"]
    assert len(content.dataset["annotations"]) == 3


def test_path_may_lead_from_the_yaml_to_the_data(yolo: Path, tmp_path: Path) -> None:
    write_texts(tmp_path / "configs", {"my.yaml": f"path: ../yolo\n{YAML}"})
    assert len(open_source(tmp_path / "configs" / "my.yaml").splits["train"].read().dataset["annotations"]) == 2


def test_a_yaml_that_only_names_classes_leaves_the_splits_to_the_folders(yolo: Path) -> None:
    write_texts(yolo, {"data.yaml": "nc: 2"})
    assert open_source(yolo / "data.yaml").format == "YOLO"
    write_texts(yolo, {"data.yaml": "names: [ant, bee]"})
    source = open_source(yolo)
    assert list(source.splits) == ["train", "val"] and names(source.splits["val"].read()) == ["ant", "bee"]
    write_texts(yolo, {"data.yaml": YAML.replace("names: [ant, bee]", ""), "classes.txt": "x\n\ny\n"})
    content = open_source(yolo / "data.yaml").splits["train"].read()
    assert names(content) == ["x", "", "y"] and found(content, EMPTY_NAME) == ["classes.txt, class 2 of the list"]


def test_no_image_to_train_with_is_refused(yolo: Path) -> None:
    shutil.rmtree(yolo / "images" / "train")
    with pytest.raises(UserError, match=r"No images where .*data\.yaml says they are, train: images/train; looked in"):
        open_source(yolo)


def test_two_yaml_files_have_to_be_chosen_from(yolo: Path) -> None:
    shutil.copy(yolo / "data.yaml", yolo / "other.yaml")
    with pytest.raises(UserError, match=r"more than one YAML file of a data set: data\.yaml, other\.yaml\."):
        open_source(yolo)


LAYOUTS: dict[str, tuple[dict[str, str], dict[str, list[str]]]] = {
    "labels beside images": ({"a.jpg": "a.txt", "b.jpg": "b.txt"}, {"all": ["a.jpg", "b.jpg"]}),
    "labels in a folder": ({"images/a.jpg": "labels/a.txt"}, {"all": ["a.jpg"]}),
    "labels below images": ({"a.jpg": "labels/a.txt"}, {"all": ["a.jpg"]}),
    "images in a folder of another name": ({"pictures/a.jpg": "labels/a.txt"}, {"all": ["a.jpg"]}),
    "splits below": (
        {"images/train/a.jpg": "labels/train/a.txt", "images/valid/a.jpg": "labels/valid/a.txt"},
        {"train": ["a.jpg"], "val": ["a.jpg"]},
    ),
    "splits above": (
        {"train/images/deep/a.jpg": "train/labels/deep/a.txt", "test/images/b.jpg": "test/labels/b.txt"},
        {"train": ["a.jpg"], "test": ["b.jpg"]},
    ),
    "labels by split": (
        {"train/a.jpg": "labels/train/a.txt", "val/a.jpg": "labels/val/a.txt"},
        {"train": ["a.jpg"], "val": ["a.jpg"]},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_without_a_yaml_are_understood(tmp_path: Path, layout: str) -> None:
    pairs, splits = LAYOUTS[layout]
    for number, (image, label) in enumerate(pairs.items()):
        write_pictures(tmp_path, image)
        write_texts((tmp_path / label).parent, {Path(label).name: f"{number}{ROW[1:]}"})
    write_texts(tmp_path, {"classes.txt": "ant\nbee\n", "README.txt": "words"})
    contents = {name: split.read() for name, split in open_source(tmp_path).splits.items()}
    assert {name: files(content) for name, content in contents.items()} == splits
    numbers = [entry["category_id"] for content in contents.values() for entry in content.dataset["annotations"]]
    assert numbers == list(range(1, len(pairs) + 1))
    assert all(names(content) == ["ant", "bee"] and content.findings == () for content in contents.values())


def test_darknet_and_cvat_lists_make_the_splits(tmp_path: Path) -> None:
    write_pictures(tmp_path, *(f"obj_train_data/{stem}.jpg" for stem in "abc"))
    write_texts(tmp_path / "obj_train_data", {"a.txt": ROW, "b.txt": ROW})
    lists = {"train.txt": "data/obj_train_data/a.jpg\ndata/obj_train_data/c.jpg\n", "valid.txt": "obj_train_data/b.jpg"}
    write_texts(tmp_path, {**lists, "obj.names": "ant\n", "obj.data": "classes = 1"})
    source = open_source(tmp_path)
    assert {name: files(split.read()) for name, split in source.splits.items()} == {
        "train": ["a.jpg", "c.jpg"],
        "val": ["b.jpg"],
    }
    assert source.splits["val"].file == tmp_path / "valid.txt"
    assert names(source.splits["train"].read()) == ["ant"] and source.splits["train"].read().findings == ()


def test_images_outside_of_the_splits_are_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, "train/a.jpg", "stray.jpg")
    write_texts(tmp_path / "train", {"a.txt": ROW})
    assert found(read(tmp_path), OUTSIDE_OF_SPLITS) == ["stray.jpg"]


def test_pictures_with_captions_are_no_yolo(tmp_path: Path) -> None:
    write_pictures(tmp_path, *(f"{number}.jpg" for number in range(25)))
    write_texts(tmp_path, {f"{number}.txt": "a photo of a dog" for number in range(25)})
    write_json(tmp_path / "notes.json", {"categories": []})
    with pytest.raises(UserError, match="No data set in"):
        open_source(tmp_path)


def test_empty_labels_alone_are_no_data_set(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    write_texts(tmp_path, {"a.txt": ""})
    with pytest.raises(UserError, match="No data set in"):
        open_source(tmp_path)


def test_labels_without_any_image_are_no_data_set_unless_the_yaml_says_so(tmp_path: Path) -> None:
    write_texts(tmp_path / "labels", {"a.txt": ROW})
    with pytest.raises(UserError, match=r"No data set in .*, which holds labels/ \(1 \.txt\)"):
        open_source(tmp_path)


def test_labels_of_other_names_than_the_images_are_found(tmp_path: Path) -> None:
    write_pictures(tmp_path, "images/a.jpg")
    write_texts(tmp_path / "labels", {"b.txt": ROW})
    content = read(tmp_path, "all")
    assert content.dataset["annotations"] == [] and files(content) == ["a.jpg"]
    assert found(content, LABEL_WITHOUT_IMAGE) == ["labels/b.txt"]
