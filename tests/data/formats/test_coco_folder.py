from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.data.annotations import write_annotations
from brs_detr.data.formats.coco_folder import CocoSplit, files_left_out, find_splits, shared_class_names, split_of_file
from brs_detr.data.formats.coco_folder_reader import UNREAD_FILE
from brs_detr.data.formats.source import open_source
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
    with pytest.raises(UserError, match="no data set folder"):
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
