from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.data.annotations import write_annotations
from brs_detr.data.coco_folder import find_splits, shared_class_names
from brs_detr.errors import UserError

LAYOUTS = {
    "ours": ({"train": "train", "val": "val"}, "annotations/{}.json"),
    "coco": ({"train2017": "train2017", "val2017": "val2017"}, "annotations/instances_{}.json"),
    "coco, images in one folder": ({"train": "images", "val": "images"}, "annotations/instances_{}.json"),
    "coco, images below one folder": ({"Train": "images/Train", "Val": "images/Val"}, "annotations/instances_{}.json"),
    "validation spelt out": ({"training": "train", "validation": "valid"}, "annotations/{}.json"),
    "roboflow": ({"train": "train", "valid": "valid"}, "{}/_annotations.coco.json"),
    "files at the top": ({"train": "train", "val": "val"}, "{}.json"),
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


def test_an_unknown_layout_says_what_is_there_and_what_is_understood(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").touch()
    with pytest.raises(UserError, match=r"holds data.yaml, labels/\.(?s:.*)Roboflow"):
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
