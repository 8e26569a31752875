from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from same_data import write_json, write_texts

from brs_detr.data.checks.check import find_faults
from brs_detr.data.formats.layout import SplitContent
from brs_detr.data.formats.source import open_source
from brs_detr.data.kinds import (
    BROKEN_OBJECT,
    EMPTY_NAME,
    LABEL_WITHOUT_IMAGE,
    LARGE_CLASS,
    MISSING_IMAGE,
    MISSING_SPLIT,
    NOT_UTF8_FILE,
    NUMBERED_NAMES,
    OUTSIDE_OF_SPLITS,
    POLYGON_ROW,
    SHARED_LABEL,
    SIMILAR_NAMES,
    TRACKED_ROW,
    UNCLEAR_ROW,
    UNKNOWN_CLASS,
    UNREAD_SUFFIX,
    UNREADABLE_IMAGE,
    UNUSED_LIST,
    WRONG_COUNT,
    FaultKind,
)
from brs_detr.errors import UserError

ROW = "0 0.5 0.5 0.5 0.4\n"
BOX = [10, 9, 20, 12]
FACE = "0 0.5 0.4 0.2 0.3 0.45 0.35 0.55 0.35\n"
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
    "binary": (lambda yolo: (yolo / LABEL).write_bytes(b"\xff"), NOT_UTF8_FILE, "labels/train/a.txt is not text"),
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
    "box with a confidence": (
        lambda yolo: (yolo / LABEL).write_text(f"0 0.9{ROW[1:]}"),
        BROKEN_OBJECT,
        "labels/train/a.txt, line 1: 5 numbers behind the class, but a box has 4; if one is a confidence",
    ),
    "landmarks": (
        lambda yolo: (yolo / LABEL).write_text(FACE),
        UNCLEAR_ROW,
        "labels/train/a.txt, line 1",
    ),
    "polygon": (
        lambda yolo: (yolo / LABEL).write_text("0 0.25 0.5 0.75 0.125 0.5 0.875"),
        POLYGON_ROW,
        "labels/train/a.txt, line 1",
    ),
    "one label, two images": (
        lambda yolo: write_pictures(yolo, "images/train/a.png"),
        SHARED_LABEL,
        "labels/train/a.txt: images/train/a.jpg and images/train/a.png",
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


@pytest.mark.parametrize("number", ["32768", "300000000", "1e300"])
@pytest.mark.fault(
    "Images and annotations",
    "a class number of 300,000,000, which would need a name for every number below",
    "refused, with file and line",
)
def test_a_class_number_without_end_makes_no_classes(yolo: Path, number: str) -> None:
    (yolo / "data.yaml").write_text("train: images/train\nval: images/val\n")
    label = next(path for path in sorted((yolo / "labels" / "train").iterdir()) if path.read_text().strip())
    label.write_text(f"{label.read_text().rstrip()}\n{number} 0.5 0.5 0.1 0.1\n")
    content = read(yolo)
    assert len(names(content)) < 10
    (text,) = [finding.examples[0] for finding in content.findings if finding.kind == LARGE_CLASS]
    assert re.fullmatch(rf"labels/train/{label.name}, line \d: class {number}", text)


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
    with pytest.raises(UserError, match=r"more than one YAML file of a dataset: data\.yaml, other\.yaml\."):
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
    with pytest.raises(UserError, match="No dataset in"):
        open_source(tmp_path)


def test_labels_behind_many_empty_ones_are_found(tmp_path: Path) -> None:
    write_pictures(tmp_path, *(f"{number:02d}.jpg" for number in range(25)))
    write_texts(tmp_path, {f"{number:02d}.txt": ROW if number == 24 else "" for number in range(25)})
    assert len(read(tmp_path, "all").dataset["annotations"]) == 1


def test_empty_labels_alone_are_no_data_set(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    write_texts(tmp_path, {"a.txt": ""})
    with pytest.raises(UserError, match=r"All label files of .* are empty: a\.txt\."):
        open_source(tmp_path)


def test_labels_without_any_image_are_no_data_set_unless_the_yaml_says_so(tmp_path: Path) -> None:
    write_texts(tmp_path / "labels", {"a.txt": ROW})
    with pytest.raises(UserError, match=r"has label files, 1 like labels/a\.txt, but no image\."):
        open_source(tmp_path)


def test_labels_of_other_names_than_the_images_are_found(tmp_path: Path) -> None:
    write_pictures(tmp_path, "images/a.jpg")
    write_texts(tmp_path / "labels", {"b.txt": ROW})
    content = read(tmp_path, "all")
    assert content.dataset["annotations"] == [] and files(content) == ["a.jpg"]
    assert found(content, LABEL_WITHOUT_IMAGE) == ["labels/b.txt"]


def test_kpt_shape_says_what_longer_rows_are(yolo: Path) -> None:
    write_texts(yolo / "labels" / "train", {"a.txt": FACE})
    write_texts(yolo, {"data.yaml": f"{YAML}kpt_shape: [2, 2]\n"})
    content = read(yolo)
    assert content.findings == () and content.dataset["annotations"][0]["bbox"] == [16, 7.5, 8, 9]
    write_texts(yolo, {"data.yaml": f"{YAML}kpt_shape: [0, 2]\n"})
    content = read(yolo)
    assert content.findings == () and content.dataset["annotations"][0]["bbox"] == [8, 9, 14, 3]
    write_texts(yolo, {"data.yaml": f"{YAML}kpt_shape: [5, 2]\n"})
    (text,) = found(read(yolo), BROKEN_OBJECT)
    assert text == "labels/train/a.txt, line 1: 8 numbers behind the class, but the kpt_shape of data.yaml asks for 14"


@pytest.mark.parametrize(
    ("label", "kind", "words"),
    [
        (b"0 0.5 0.5 0.5 0.4 0.9\n", BROKEN_OBJECT, "a.txt, line 1: 5 numbers behind the class"),
        (b"0,0.5,0.5,0.5,0.4\n", BROKEN_OBJECT, "a.txt, line 1: '0,0.5,0.5,0.5,0.4' are not numbers"),
        (b"ant 0.5 0.5 0.5 0.4\n", BROKEN_OBJECT, "a.txt, line 1: 'ant 0.5 0.5 0.5 0.4' are not numbers"),
        (ROW.encode("utf-16-le"), NOT_UTF8_FILE, "a.txt is not text in UTF-8 (byte 2, line 1)"),
    ],
)
@pytest.mark.parametrize("place", ["images/a.jpg labels/a.txt", "a.jpg a.txt"])
def test_labels_that_all_are_broken_are_named_without_a_yaml(
    tmp_path: Path, place: str, label: bytes, kind: FaultKind, words: str
) -> None:
    image, text = place.split()
    write_pictures(tmp_path, image)
    (tmp_path / text).parent.mkdir(exist_ok=True)
    (tmp_path / text).write_bytes(label)
    assert words in found(read(tmp_path, "all"), kind)[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_text_file_may_have_any_mark_and_line_end(tmp_path: Path, encoding: str, end: str) -> None:
    write_pictures(tmp_path, "data/a.jpg", "data/b.jpg")
    texts = {"train.txt": "data/a.jpg\n", "val.txt": "data/b.jpg\n", "obj.names": "Löwe\nBär\n", "data/a.txt": ROW * 2}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.replace("\n", end).encode(encoding))
    content = read(tmp_path)
    assert (files(content), names(content), content.findings) == (["a.jpg"], ["Löwe", "Bär"], ())
    assert [entry["bbox"] for entry in content.dataset["annotations"]] == [BOX, BOX]
    (tmp_path / "data.yaml").write_bytes(f"names: [Löwe, Bär]{end}".encode(encoding))
    assert names(read(tmp_path)) == ["Löwe", "Bär"]


@pytest.mark.parametrize("name", ["classes.txt", "train.txt", "my.yaml", "data.yaml"])
def test_a_text_file_in_another_encoding_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write_pictures(tmp_path, "Löwe.jpg")
    write_texts(tmp_path, {"Löwe.txt": ROW})
    (tmp_path / name).write_bytes("names: [Löwe]".encode("cp1252"))
    with pytest.raises(UserError, match=rf"{name} is not text in UTF-8 \(byte 10, line 1\)"):
        open_source(tmp_path)


def test_names_are_kept_in_one_normal_form(yolo: Path) -> None:
    for form in ("NFC", "NFD"):
        write_texts(yolo, {"data.yaml": YAML.replace("ant", unicodedata.normalize(form, "Löwe"))})
        assert names(read(yolo)) == [unicodedata.normalize("NFC", "Löwe"), "bee"]


def test_two_files_that_number_classes_otherwise_are_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, "train/a.jpg", "val/b.jpg")
    write_texts(tmp_path / "train", {"a.txt": ROW, "classes.txt": "ant\nbee\n"})
    write_texts(tmp_path / "val", {"b.txt": ROW, "classes.txt": "ant\n"})
    assert names(read(tmp_path, "val")) == ["ant", "bee"]  # one of them may go on
    write_texts(tmp_path / "val", {"classes.txt": "bee\nant\n"})
    with pytest.raises(UserError, match=r"train/classes\.txt calls class 0 'ant', .*val/classes\.txt calls it 'bee'"):
        open_source(tmp_path)
    assert names(open_source(tmp_path / "val/classes.txt").splits["all"].read()) == ["bee", "ant"]


def test_a_file_with_class_names_can_be_given_wherever_it_lies(yolo: Path) -> None:
    (yolo / "data.yaml").unlink()
    write_texts(yolo, {"classes.txt": "ant\nbee\n"})
    write_texts(yolo / "labels" / "train", {"classes.txt": "bee\nant\n"})
    assert names(open_source(yolo / "labels/train/classes.txt").splits["val"].read()) == ["bee", "ant"]
    assert names(open_source(yolo / "classes.txt").splits["val"].read()) == ["ant", "bee"]


def test_an_empty_file_names_no_class(yolo: Path) -> None:
    (yolo / "data.yaml").unlink()
    write_texts(yolo, {"classes.txt": "\n"})
    assert names(read(yolo)) == ["class_0", "class_1"]


def test_names_of_the_yaml_and_of_another_file_must_agree_unless_one_is_given(yolo: Path) -> None:
    write_texts(yolo / "labels", {"classes.txt": "bee\nant\n"})
    with pytest.raises(UserError, match=r"data\.yaml calls class 0 'ant', .*labels/classes\.txt calls it 'bee'"):
        open_source(yolo)
    assert names(open_source(yolo / "data.yaml").splits["train"].read()) == ["ant", "bee"]
    write_texts(yolo / "labels", {"classes.txt": "ant\nbee\n"})
    assert names(read(yolo)) == ["ant", "bee"]


def test_two_lists_of_one_split_are_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    write_texts(tmp_path, {"a.txt": ROW, "val.txt": "a.jpg", "valid.txt": "a.jpg"})
    with pytest.raises(UserError, match=r"Two lists for the split val: .*val\.txt and valid\.txt"):
        open_source(tmp_path)


def test_paths_in_yaml_and_lists_need_not_have_the_case_and_normal_form_of_the_disk(yolo: Path) -> None:
    write_pictures(yolo, f"images/train/{unicodedata.normalize('NFC', 'ä')}.JPG")
    (yolo / "images/train").rename(yolo / "images/Train")
    write_texts(yolo, {"List.txt": f"images/train/{unicodedata.normalize('NFD', 'ä')}.jpg\nimages/TRAIN/a.jpg\n"})
    write_texts(yolo, {"data.yaml": YAML.replace("train: images/train", "train: list.txt")})
    content = read(yolo)
    assert files(content) == [f"{unicodedata.normalize('NFC', 'ä')}.JPG", "a.jpg"] and content.findings == ()
    assert len(content.dataset["annotations"]) == 2
    write_texts(yolo, {"data.yaml": YAML.replace("images/train", "Images\\train")})
    assert len(read(yolo).dataset["images"]) == 3


def test_lines_that_can_only_mean_one_file_together_lead_nowhere(yolo: Path) -> None:
    write_texts(yolo, {"train.txt": "/x/1/a.jpg\n/x/2/a.jpg\n", "data.yaml": YAML.replace("images/train", "train.txt")})
    shutil.copy(yolo / "images/train/a.jpg", yolo / "a.jpg")
    with pytest.raises(UserError, match="No images where"):
        open_source(yolo)
    write_texts(yolo, {"train.txt": "/x/1/a.jpg\n/x/2/a.jpg\nimages/train/b.jpg\n"})
    told = [f"/x/{number}/a.jpg, named in train.txt" for number in (1, 2)]
    assert found(read(yolo), MISSING_IMAGE) == told


def test_a_label_where_no_image_looks_is_named_by_the_check(tmp_path: Path) -> None:
    write_pictures(tmp_path, "images/val/a.jpg")
    write_texts(tmp_path / "labels/valid", {"a.txt": ROW})
    write_pictures(tmp_path, "images/train/b.jpg")
    write_texts(tmp_path / "labels/train", {"b.txt": ROW, "classes.txt": "ant\n"})
    assert read(tmp_path).findings == ()
    (fault,) = find_faults(open_source(tmp_path).splits["val"]).fatal  # and not: annotate at least one object
    assert fault.kind.what == "label file where no image looks for it"
    assert fault.examples == ("labels/valid/a.txt, but that of images/val/a.jpg is looked for as labels/val/a.txt",)


def test_an_absolute_path_in_the_yaml_means_the_same_files(yolo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_texts(yolo, {"data.yaml": f"path: {yolo}\n{YAML}"})
    monkeypatch.chdir(yolo.parent)
    content = read(Path(yolo.name))
    assert content.findings == () and len(content.dataset["annotations"]) == 2


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ("0 0.5 0.5 0.2 0.2 0.9 1\n0 0.4 0.4 0.2 0.2 0.9 7\n", TRACKED_ROW),
        ("0 0.5 0.5 0.2 0.2" + " -1" * 10, UNCLEAR_ROW),
        ("0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.45 0.45 1", UNCLEAR_ROW),
    ],
)
def test_rows_that_are_refused_give_no_box_and_no_empty_image(yolo: Path, rows: str, kind: FaultKind) -> None:
    write_texts(yolo / "labels" / "train", {"a.txt": rows})
    content = read(yolo)
    assert found(content, kind)[0] == "labels/train/a.txt, line 1"
    assert content.dataset["annotations"] == [] and files(content) == ["b.jpg"]


def test_an_image_none_of_whose_rows_can_be_read_is_not_one_without_objects(yolo: Path) -> None:
    write_texts(yolo / "labels" / "train", {"a.txt": "0,0.5,0.5,0.2,0.2"})
    assert files(read(yolo)) == ["b.jpg"]


def test_no_names_are_made_up_where_no_class_is_read(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    write_texts(tmp_path, {"a.txt": "cat 0 0 0 35 49 62 87"})
    assert [finding.kind for finding in read(tmp_path, "all").findings] == [BROKEN_OBJECT]


def test_an_image_of_a_kind_that_is_not_read_is_named(yolo: Path) -> None:
    (yolo / "images" / "train" / "a.jpg").rename(yolo / "images" / "train" / "a.tga")
    content = read(yolo)
    assert found(content, UNREAD_SUFFIX) == ["labels/train/a.txt: images/train/a.tga"]
    assert found(content, LABEL_WITHOUT_IMAGE) == []


@pytest.mark.parametrize("yaml", [{}, {"data.yaml": "train: images\nnames: [ant]\n"}])
def test_images_that_all_are_of_a_kind_that_is_not_read_are_named(tmp_path: Path, yaml: dict[str, str]) -> None:
    write_texts(tmp_path / "labels", {"a.txt": ROW})
    write_texts(tmp_path / "images", {"a.tga": ""})
    write_texts(tmp_path, yaml)
    with pytest.raises(UserError, match=r"of a kind that is not read: images/a\.tga\.\n  Save them as JPEG or PNG"):
        open_source(tmp_path)


@pytest.mark.parametrize("place", ["", "labels"])
def test_labels_without_a_row_are_named(tmp_path: Path, place: str) -> None:
    write_pictures(tmp_path, "images/a.jpg")
    write_texts(tmp_path / "labels", {"a.txt": "\n0\n"})
    with pytest.raises(UserError, match=r"labels/a\.txt, line 2: '0' is no row of a label file"):
        open_source(tmp_path / place)


@pytest.mark.parametrize("yaml", [{}, {"data.yaml": "train: train.txt\nval: val.txt\nnames: [ant, bee]\n"}])
@pytest.mark.parametrize("suffix", [".jpg", ""])
def test_a_list_of_names_alone_leads_to_the_images_of_these_names(
    tmp_path: Path, suffix: str, yaml: dict[str, str]
) -> None:
    write_pictures(tmp_path, "images/a.jpg", "images/b.jpg")
    write_texts(tmp_path / "labels", {"a.txt": ROW, "b.txt": ROW})
    write_texts(tmp_path, {"train.txt": f"a{suffix}\n", "val.txt": f"b{suffix}\n", "classes.txt": "ant\nbee", **yaml})
    assert files(read(tmp_path)) == ["a.jpg"] and files(read(tmp_path, "val")) == ["b.jpg"]


def test_a_name_alone_that_two_images_have_leads_to_none(yolo: Path) -> None:
    write_pictures(yolo, "images/val/a.jpg")
    write_texts(yolo, {"train.txt": "a.jpg\nb.jpg\n", "data.yaml": YAML.replace("images/train", "train.txt")})
    content = read(yolo)
    assert files(content) == ["b.jpg"] and found(content, MISSING_IMAGE) == ["a.jpg, named in train.txt"]


def test_lists_in_imagesets_count(yolo: Path) -> None:
    (yolo / "data.yaml").unlink()
    shutil.copytree(yolo / "images" / "train", yolo / "images" / "all")
    shutil.copytree(yolo / "labels" / "train", yolo / "labels" / "all")
    for part in ("images", "labels"):
        for split in ("train", "val"):
            shutil.rmtree(yolo / part / split)
    write_texts(yolo / "ImageSets", {"train.txt": "images/all/a.jpg", "val.txt": "images/all/b.jpg"})
    assert files(read(yolo)) == ["a.jpg"] and files(read(yolo, "val")) == ["b.jpg"]


@pytest.mark.parametrize("yaml", [{}, {"data.yaml": "train: train.txt\nnames: [ant, bee]\n"}])
def test_a_list_that_leads_nowhere_is_refused_with_its_first_line(yolo: Path, yaml: dict[str, str]) -> None:
    (yolo / "data.yaml").unlink()
    write_texts(yolo, {"train.txt": "images/x\nimages/y\n", **yaml})
    with pytest.raises(UserError, match=r"train\.txt.*images/x"):
        open_source(yolo)


def test_lists_that_contradict_the_folders_are_refused(yolo: Path) -> None:
    (yolo / "data.yaml").unlink()
    write_texts(yolo, {"train.txt": "images/train/a.jpg\nimages/val/c.png\n"})
    with pytest.raises(UserError, match=r"train\.txt lists images/val/c\.png, which the folder puts into val"):
        open_source(yolo)


def test_lists_may_divide_the_only_folder_that_there_is(yolo: Path) -> None:
    for name in ("data.yaml", "images/val/c.png", "labels/val/c.txt"):
        (yolo / name).unlink()
    write_texts(yolo, {"train.txt": "images/train/a.jpg", "val.txt": "images/train/b.jpg"})
    assert files(read(yolo, "val")) == ["b.jpg"]


def test_a_list_that_data_yaml_passes_over_is_named(yolo: Path) -> None:
    write_texts(yolo, {"train.txt": "images/val/c.png\n", "val.txt": "images/val/c.png\n"})
    assert found(read(yolo), UNUSED_LIST) == ["train.txt"]


def test_two_folders_for_one_split_are_refused(yolo: Path) -> None:
    (yolo / "data.yaml").unlink()
    write_pictures(yolo, "images/valid/d.jpg")
    with pytest.raises(UserError, match="two folders for the split val: images/val and images/valid"):
        open_source(yolo)


def test_labelled_images_that_no_list_names_are_told(yolo: Path) -> None:
    (yolo / "data.yaml").unlink()
    write_pictures(yolo, "images/train/unlabelled.jpg")
    write_texts(yolo, {"train.txt": "images/train/a.jpg", "val.txt": "images/val/c.png"})
    assert found(read(yolo), OUTSIDE_OF_SPLITS) == ["images/train/b.jpg"]


def test_the_label_file_of_an_image_called_names_holds_no_class_names(tmp_path: Path) -> None:
    write_pictures(tmp_path, "names.jpg", "a.jpg")
    write_texts(tmp_path, {"names.txt": ROW, "a.txt": ROW})
    content = read(tmp_path, "all")
    assert names(content) == ["class_0"] and len(content.dataset["annotations"]) == 2


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("0: ant\n1: bee\n", ["ant", "bee"]),
        ("0 ant\n1 bee\n", ["ant", "bee"]),
        ("1: bee\n0: ant\n", ["ant", "bee"]),
        ("1 euro\n2 euro\n", ["1 euro", "2 euro"]),
        ("#\n$\n", ["#", "$"]),
    ],
)
def test_numbers_before_class_names_are_read_as_such(tmp_path: Path, text: str, read_as: list[str]) -> None:
    write_pictures(tmp_path, "a.jpg")
    write_texts(tmp_path, {"a.txt": f"{ROW}1{ROW[1:]}", "classes.txt": text})
    assert names(read(tmp_path, "all")) == read_as


def test_a_comment_is_no_class_name(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    write_texts(tmp_path, {"a.txt": ROW, "classes.txt": "# classes\nant\n"})
    with pytest.raises(UserError, match=r"classes\.txt, line 1: '# classes' is a comment"):
        open_source(tmp_path)


def test_a_list_that_data_yaml_names_is_not_passed_over(yolo: Path) -> None:
    text = YAML.replace("images/train", "[more.txt, train.txt]")
    write_texts(yolo, {"train.txt": "images/train/a.jpg", "more.txt": "images/train/b.jpg", "data.yaml": text})
    assert found(read(yolo), UNUSED_LIST) == [] and files(read(yolo)) == ["b.jpg", "a.jpg"]
