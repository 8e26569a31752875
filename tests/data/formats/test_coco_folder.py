from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from same_data import coco_object, write_images, write_json, write_roboflow

from brs_detr.data.annotations import write_annotations
from brs_detr.data.formats import coco_folder
from brs_detr.data.formats.coco_folder import (
    CocoSplit,
    closest_name,
    coco_source,
    files_left_out,
    find_image_dir,
    find_splits,
    first_image_names,
    is_as_filed,
    looks_like_coco,
    shared_class_names,
    split_of_file,
    with_found_names,
)
from brs_detr.data.formats.layout import SplitContent
from brs_detr.data.formats.source import open_source
from brs_detr.data.kinds import MOVED_IMAGE, UNREAD_FILE, UNUSED_GROUP
from brs_detr.errors import UserError

LAYOUTS = {
    "ours": ({"train": "train", "val": "val"}, "annotations/{}.json"),
    "coco": ({"train2017": "train2017", "val2017": "val2017"}, "annotations/instances_{}.json"),
    "coco, images in one folder": ({"train": "images", "val": "images"}, "annotations/instances_{}.json"),
    "coco, images below one folder": ({"Train": "images/Train", "Val": "images/Val"}, "annotations/instances_{}.json"),
    "capitals": ({"TRAIN": "Images/Train", "VAL": "Images/Val"}, "Annotations/Instances_{}.JSON"),
    "validation spelt out": ({"training": "train", "validation": "valid"}, "annotations/{}.json"),
    "roboflow": ({"train": "train", "valid": "valid"}, "{}/_annotations.coco.json"),
    "files at the top": ({"train": "train", "val": "val"}, "{}.json"),
    "a folder for each split": ({"train": "train/images", "val": "val/images"}, "{}/labels.json"),
}


def write_file(file: Path, names: str = "ab") -> None:
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    write_annotations(file, {"images": [], "annotations": [], "categories": categories})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_names(tmp_path: Path, layout: str) -> None:
    folders, pattern = LAYOUTS[layout]
    for stem, image_dir in folders.items():
        (tmp_path / image_dir).mkdir(parents=True, exist_ok=True)
        write_file(tmp_path / pattern.format(stem))
    splits = find_splits(str(tmp_path))
    assert list(splits) == ["train", "val"]
    for name, (stem, image_dir) in zip(splits, folders.items(), strict=True):
        assert splits[name].name == name
        assert splits[name].annotation_file == tmp_path / pattern.format(stem)
        assert splits[name].image_dir == tmp_path / image_dir


def test_files_for_other_tasks_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "train2017").mkdir()
    write_file(tmp_path / "annotations" / "instances_train2017.json")
    for stem in ("captions_train2017", "person_keypoints_train2017", "image_info_test2017"):
        write_file(tmp_path / "annotations" / f"{stem}.json")
    assert list(find_splits(tmp_path)) == ["train"]


def test_files_named_after_no_split_are_left_out_by_name(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for stem in ("instances_train", "instances_val_v2", "captions_train", "notes"):
        write_file(tmp_path / "annotations" / f"{stem}.json")
    (tmp_path / "annotations" / "notes.json").write_text("{}")
    left_out = files_left_out(tmp_path, find_splits(tmp_path))
    assert left_out == [tmp_path / "annotations" / "instances_val_v2.json"]
    (finding,) = open_source(tmp_path).splits["train"].read().findings
    assert finding.kind == UNREAD_FILE and finding.examples == (str(left_out[0]),)


def test_an_unknown_layout_says_what_is_there_and_what_is_understood(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").touch()
    with pytest.raises(UserError, match=r"holds data.yaml, labels/ \(empty\)\.(?s:.*)Roboflow"):
        find_splits(tmp_path)


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds nothing"):
        find_splits(tmp_path)
    with pytest.raises(UserError, match="no dataset folder"):
        find_splits(tmp_path / "absent")


def test_annotations_without_an_image_folder_are_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "annotations" / "instances_val2017.json")
    with pytest.raises(UserError, match="looked in .* for val2017, val, valid"):
        find_splits(tmp_path)


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    for stem in ("instances_train2014", "instances_train2017"):
        write_file(tmp_path / "annotations" / f"{stem}.json")
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="Two annotation files for the split train"):
        find_splits(tmp_path)


@pytest.mark.parametrize("name", ["annotations/instances_default.json", "result.json", "_annotations.coco.json"])
def test_one_file_of_any_name_is_a_data_set_without_splits(tmp_path: Path, name: str) -> None:
    (tmp_path / "images").mkdir()
    write_file(tmp_path / name)
    write_annotations(tmp_path / "other.json", {"images": [], "annotations": []})
    assert find_splits(tmp_path) == {"all": CocoSplit("all", tmp_path / name, tmp_path / "images")}
    assert split_of_file(tmp_path / name) == find_splits(tmp_path)["all"]


def test_key_points_beside_instances_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for stem in ("instances_default", "person_keypoints_default"):
        write_file(tmp_path / "annotations" / f"{stem}.json")
    assert find_splits(tmp_path)["all"].annotation_file.stem == "instances_default"


def test_several_files_of_any_name_have_to_be_chosen_from(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for stem in ("one", "annotations/two"):
        write_file(tmp_path / f"{stem}.json")
    with pytest.raises(UserError, match=r"none is named after a split: annotations/two\.json, one\.json\.\n  Give the"):
        find_splits(tmp_path)
    assert split_of_file(tmp_path / "one.json").image_dir == tmp_path / "images"


@pytest.mark.parametrize(
    ("file", "name"),
    [("instances_val.json", "val"), ("annotations/Train.json", "train"), ("valid/x.json", "val"), ("x.json", "all")],
)
def test_a_file_is_the_split_that_it_or_its_folder_is_named_after(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / "images").mkdir()
    write_file(tmp_path / file)
    assert split_of_file(tmp_path / file).name == name


def make_two(folder: Path, train: str, val: str) -> None:
    for name, classes in (("train", train), ("val", val)):
        (folder / name).mkdir()
        write_file(folder / "annotations" / f"{name}.json", classes)


def test_splits_may_number_their_classes_differently(tmp_path: Path) -> None:
    make_two(tmp_path, "abc", "cab")
    assert shared_class_names(find_splits(tmp_path)) == ["a", "b", "c"]


def test_splits_must_agree_on_class_names(tmp_path: Path) -> None:
    make_two(tmp_path, "abc", "abd")
    with pytest.raises(UserError, match=r"train\.json and .*val\.json knows the classes: c, d"):
        shared_class_names(find_splits(tmp_path))


def read(folder: Path) -> dict[str, SplitContent]:
    return {name: split.read() for name, split in coco_source(find_splits(folder)).items()}


def names(content: SplitContent) -> list[str]:
    return [category["name"] for category in content.dataset["categories"]]


def test_a_category_that_only_groups_others_is_no_class(tmp_path: Path) -> None:
    contents = read(write_roboflow(tmp_path))
    for content in contents.values():
        (finding,) = content.findings
        assert names(content) == ["ant", "cat", "dog"] and not is_as_filed(content)
        assert (finding.kind, finding.kind.severity) == (UNUSED_GROUP, "note")
        assert finding.examples == ("_annotations.coco.json: 'animals'",)


def test_a_group_with_an_annotation_in_any_split_is_a_class(tmp_path: Path) -> None:
    write_roboflow(tmp_path)
    dataset = coco_object("d", {"animals": 0, "ant": 1, "cat": 2, "dog": 3})
    dataset["annotations"][0]["category_id"] = 0
    write_json(tmp_path / "valid" / "_annotations.coco.json", dataset)
    for content in read(tmp_path).values():
        assert names(content) == ["animals", "ant", "cat", "dog"] and is_as_filed(content)


@pytest.mark.parametrize(
    "categories",
    [
        [("person", "person"), ("car", "vehicle"), ("sports ball", "sports"), ("food", "food")],  # as in COCO
        [("none", "none"), ("cat", "none")],
        [("None", None), ("cat", None)],
        [("", ""), ("cat", "")],
    ],
)
def test_unused_classes_that_group_nothing_else_stay(tmp_path: Path, categories: list[tuple[str, Any]]) -> None:
    write_images(tmp_path / "images", "a")
    dataset = coco_object("a", {"dog": 50, "ant": 51})
    dataset["categories"] += [
        {"id": number, "name": name, "supercategory": group} for number, (name, group) in enumerate(categories)
    ]
    write_json(tmp_path / "all.json", dataset)
    content = read(tmp_path)["all"]
    assert names(content) == ["dog", "ant", *(name for name, _ in categories)] and is_as_filed(content)


def test_malformed_entries_are_left_for_the_check(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a")
    categories = [{"id": 0, "name": "all"}, {"id": 1, "name": "cat", "supercategory": "all"}, 5, {"name": [1]}, {}]
    dataset = {"images": [3], "annotations": [4, {"category_id": [1]}], "categories": categories}
    write_json(tmp_path / "all.json", dataset)
    content = read(tmp_path)["all"]
    assert content.dataset == {**dataset, "categories": categories[1:]}


def test_odd_names_are_findings(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a")
    write_json(tmp_path / "all.json", coco_object("a", {"dog": 0, "Dog": 1, "ant": 2, "": 3}))
    texts = [str(finding) for finding in read(tmp_path)["all"].findings]
    assert texts == [
        "class without a name: 1 (all.json, class 4 of the list)",
        "class names that differ only in capitals, spaces, - or _: 1 (all.json: 'dog', 'Dog')",
    ]


def test_what_is_no_coco_object_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a")
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(UserError, match=r"train\.json is not valid JSON"):
        read(tmp_path)


def make(folder: Path, stated: list[str], there: list[str]) -> dict:
    for name in there:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    dataset = {"images": [{"id": number, "file_name": name} for number, name in enumerate(stated)]}
    write_json(folder / "all.json", dataset)
    return dataset


PLACES = ("default", "images", ".")


@pytest.mark.parametrize(
    ("stated", "there", "image_dir"),
    [
        ("a.jpg", ["images/a.jpg", "a.jpg"], "images"),
        ("images/a.jpg", ["images/a.jpg"], "."),
        ("images\\a.jpg", ["images/a.jpg"], "images"),
        ("a.jpg", ["images/x.jpg", "a.jpg"], "."),
        ("a.jpg", ["default/x.jpg", "images/deep/a.jpg"], "images"),
        ("/home/me/a.jpg", ["default/x.jpg", "images/a.jpg"], "images"),
        ("a.jpg", ["photos/a.jpg"], "."),
        ("a.jpg", ["images/x.jpg"], "images"),
        ("a.jpg", ["x.jpg"], "."),
        ("\ud800", ["x.jpg"], "."),
    ],
)
def test_the_image_folder_is_where_the_names_are_found(
    tmp_path: Path, stated: str, there: list[str], image_dir: str
) -> None:
    make(tmp_path, [stated], there)
    assert find_image_dir(tmp_path / "all.json", tmp_path, PLACES) == tmp_path / image_dir


def test_two_different_images_of_one_name_are_refused(tmp_path: Path) -> None:
    make(tmp_path, ["a.jpg", "b.jpg"], ["default/a.jpg", "default/b.jpg", "images/a.jpg", "images/b.jpg"])
    (tmp_path / "images" / "b.jpg").write_bytes(b"other")
    with pytest.raises(
        UserError, match=r"b\.jpg, and there are two different ones: .*default/b\.jpg and .*images/b\.jpg"
    ):
        find_image_dir(tmp_path / "all.json", tmp_path, PLACES)


def test_without_any_image_it_is_refused_or_what_is_said_otherwise(tmp_path: Path) -> None:
    make(tmp_path, ["a.jpg"], [])
    with pytest.raises(UserError, match=r"No image folder for .*all\.json; looked in .* for default, images\."):
        find_image_dir(tmp_path / "all.json", tmp_path, PLACES)
    assert find_image_dir(tmp_path / "all.json", tmp_path, PLACES, otherwise=tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("stated", "there", "names"),
    [
        (["a.jpg"], ["a.jpg"], ["a.jpg"]),
        (["images\\1/a.jpg", "images\\1/b.jpg"], ["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
        (["..\\media\\4\\a.jpg", "b.jpg"], ["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]),
        (["C:/x/1/a.jpg", "C:/x/2/a.jpg"], ["1/a.jpg", "2/a.jpg"], ["1/a.jpg", "2/a.jpg"]),
        (["a.jpg", "b.jpg"], ["deep/a.jpg", "b.jpg"], ["deep/a.jpg", "b.jpg"]),
        (["x/1/a.jpg"], ["1/a.jpg", "2/a.jpg"], ["1/a.jpg"]),
        (["A.JPG", "lo\u0308we.jpg"], ["a.jpg", "l\u00f6we.jpg"], ["a.jpg", "l\u00f6we.jpg"]),
        (["x/a.jpg", "b.jpg"], ["X/a.jpg", "y/a.jpg", "b.jpg"], ["X/a.jpg", "b.jpg"]),
        (["a.jpg"], ["1/a.jpg", "2/A.jpg"], ["1/a.jpg"]),
        (["a.jpg ", "my%20b.jpg"], ["a.jpg", "my b.jpg"], ["a.jpg", "my b.jpg"]),
        (["my%20b.jpg"], ["my%20b.jpg", "my b.jpg"], ["my%20b.jpg"]),
        # Not to be guessed: missing, in two places, claimed twice, a plain name beside others that are right.
        (["a.jpg"], ["b.jpg"], ["a.jpg"]),
        (["a.jpg"], ["1/a.jpg", "2/a.jpg"], ["a.jpg"]),
        (["/x/a.jpg", "/y/a.jpg"], ["a.jpg"], ["/x/a.jpg", "/y/a.jpg"]),
        (["1/a.jpg", "b.jpg"], ["2/a.jpg", "b.jpg"], ["1/a.jpg", "b.jpg"]),
        (["A.JPG"], ["A.jpg", "a.jpg"], ["A.JPG"]),
        (["x" * 300], ["b.jpg"], ["x" * 300]),
    ],
)
def test_images_are_found_by_the_end_of_their_path(
    tmp_path: Path, stated: list[str], there: list[str], names: list[str]
) -> None:
    dataset = make(tmp_path, stated, there)
    found, faults = with_found_names(dataset, tmp_path)
    assert [image["file_name"] for image in found["images"]] == names
    changed = [(old, new) for old, new in zip(stated, names, strict=True) if old != new]
    assert faults == [(MOVED_IMAGE, f"{old!r} is {new}") for old, new in changed]
    assert (found is dataset) == (not changed)


def test_malformed_images_are_left_for_the_check(tmp_path: Path) -> None:
    dataset = make(tmp_path, ["x\\a.jpg"], ["a.jpg"])
    dataset["images"] += [5, {"file_name": 7}, {}]
    found, _ = with_found_names(dataset, tmp_path)
    assert found["images"] == [{"id": 0, "file_name": "a.jpg"}, 5, {"file_name": 7}, {}]


def test_the_longest_common_end_decides() -> None:
    index = {"a.jpg": [Path("x/1/a.jpg"), Path("y/1/a.jpg")]}
    assert closest_name("z/1/a.jpg", index) is None
    assert closest_name("z\\y\\1\\a.jpg", index) == Path("y/1/a.jpg")


DATASET = {
    "annotations": [{"id": number} for number in range(500)],
    "images": [{"id": 1, "file_name": 'a "b" \\ é.jpg'}, {"id": 2, "file_name": "c.jpg"}],
    "categories": [],
}


@pytest.mark.parametrize("chunk", [1 << 20, 64])
def test_a_large_file_is_looked_into_piece_by_piece(tmp_path: Path, monkeypatch, chunk: int) -> None:
    monkeypatch.setattr(coco_folder, "_CHUNK", chunk)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(DATASET))
    assert looks_like_coco(file)
    assert first_image_names(file)[0] == 'a "b" \\ é.jpg'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_do_not_matter(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes(json.dumps(DATASET, ensure_ascii=False).encode(encoding))
    assert looks_like_coco(tmp_path / "a.json") and first_image_names(tmp_path / "a.json")[0] == 'a "b" \\ é.jpg'


def test_the_number_of_names_is_limited(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"images": [{"file_name": str(number)} for number in range(9)]}))
    assert first_image_names(tmp_path / "a.json", limit=2) == ["0", "1"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"images": [], "annotations": []}', b'{"file_name": "\xff\\q"'])
def test_another_or_a_broken_file_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert not looks_like_coco(tmp_path / "a.json") and first_image_names(tmp_path / "a.json") == []
    assert not looks_like_coco(tmp_path / "absent.json")
