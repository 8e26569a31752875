from __future__ import annotations

import json
from pathlib import Path

import pytest
from same_data import (
    WITH_SPLITS,
    coco_object,
    write_coco,
    write_cvat,
    write_images,
    write_json,
    write_roboflow,
    write_side_by_side,
    write_voc,
)

from brs_detr.data.formats.source import open_source
from brs_detr.data.formats.splits import describe_splits, place_splits
from brs_detr.errors import UserError

IDS = {"ant": 0, "cat": 1, "dog": 2}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_coco_files_that_can_be_used_stay_where_they_lie(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "set", IDS)
    source = open_source(folder)
    splits = place_splits(source, tmp_path / "run", seed=0)
    assert [(split.name, split.annotation_file, split.image_dir) for split in splits.values()] == [
        (name, folder / "annotations" / f"instances_{name}.json", folder / name) for name in ("train", "val")
    ]
    assert names(tmp_path / "run") == []
    assert describe_splits(source, seed=0) == {"train": "found", "val": "found"}


@pytest.mark.parametrize("write", [write_roboflow, write_voc])
def test_everything_else_is_written_as_coco(tmp_path: Path, write) -> None:
    source = open_source(write(tmp_path / "set"))
    splits = place_splits(source, tmp_path / "run" / "data", seed=0)
    assert names(tmp_path / "run" / "data") == ["train.json", "val.json"]
    for name, split in splits.items():
        dataset = json.loads(split.annotation_file.read_text())
        assert dataset == source.splits[name].read().dataset
        assert all((split.image_dir / image["file_name"]).is_file() for image in dataset["images"])


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    folder = write_side_by_side(tmp_path / "set")
    texts = []
    for run, seed in (("a", 0), ("a", 0), ("b", 0), ("c", 1)):
        splits = place_splits(open_source(folder), tmp_path / run, seed, val_fraction=0.4)
        texts.append([split.annotation_file.read_text() for split in splits.values()])
    assert texts[0] == texts[1] == texts[2] != texts[3]


def test_data_without_splits_are_divided(tmp_path: Path) -> None:
    source = open_source(write_cvat(tmp_path / "set"))
    splits = place_splits(source, tmp_path / "run", seed=5, val_fraction=0.25)
    assert list(splits) == ["train", "val"] and names(tmp_path / "run") == ["train.json", "val.json"]
    assert describe_splits(source, seed=5, val_fraction=0.25) == {
        "train": "made: 75 % of the images, by image, stratified by class, seed 5",
        "val": "made: the other 25 %",
    }


def test_from_train_alone_val_is_held_out_with_the_ids_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_images(folder / "train", "abcd")
    whole = coco_object("abcd", {"ant": 4, "cat": 17, "dog": 90})
    write_json(folder / "annotations" / "instances_train.json", whole)
    source = open_source(folder)
    splits = place_splits(source, tmp_path / "run", seed=0)
    parts = [json.loads(split.annotation_file.read_text()) for split in splits.values()]
    for section in ("images", "annotations"):
        assert (
            sorted((entry for part in parts for entry in part[section]), key=lambda entry: entry["id"])
            == whole[section]
        )
    assert all(part["categories"] == whole["categories"] for part in parts)
    assert describe_splits(source, seed=0)["train"].startswith("made: 80 % of the images of instances_train.json, by")


def test_a_test_split_without_val_leaves_train_whole(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "set", IDS)
    (folder / "annotations" / "instances_val.json").rename(folder / "annotations" / "instances_test.json")
    (folder / "val").rename(folder / "test")
    source = open_source(folder)
    assert list(place_splits(source, tmp_path / "run", seed=0)) == ["train", "test"]
    assert describe_splits(source, seed=0) == {"train": "found", "test": "found"}
    assert names(tmp_path / "run") == []


def test_too_few_images_to_hold_some_out_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "images", "ac")
    write_json(tmp_path / "set" / "all.json", coco_object("ac", IDS))
    with pytest.raises(UserError, match=r"all\.json has 2 images, none of which can be held out"):
        place_splits(open_source(tmp_path / "set"), tmp_path / "run", seed=0)
    assert names(tmp_path / "run") == []


def test_splits_that_do_not_know_the_same_classes_are_refused(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "set", IDS)
    dataset = json.loads((folder / "annotations" / "instances_val.json").read_text())
    dataset["categories"].append({"id": 3, "name": "bee"})
    write_json(folder / "annotations" / "instances_val.json", dataset)
    with pytest.raises(UserError, match=r"instances_train\.json and .*instances_val\.json knows the classes: bee"):
        place_splits(open_source(folder), tmp_path / "run", seed=0)
    assert names(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("of_the_run", "difference"),
    [
        pytest.param(["ant", "cat"], "new: dog", id="added"),
        pytest.param(["ant", "bee", "cat", "dog"], "missing: bee", id="removed"),
        pytest.param(["ant", "cat", "wolf"], "new: dog; missing: wolf", id="renamed"),
        pytest.param(["cat", "ant", "dog"], "in another order: ant, cat, where the run has cat, ant", id="reordered"),
    ],
)
@pytest.mark.parametrize("write", [write_roboflow, write_voc, WITH_SPLITS["YOLO"]])
def test_classes_that_a_model_takes_for_others_are_refused(
    write, of_the_run: list[str], difference: str, tmp_path: Path
) -> None:
    source = open_source(write(tmp_path / "set"))
    with pytest.raises(UserError, match=f"does not have the classes of the run; {difference}\\."):
        place_splits(source, tmp_path / "run", seed=0, class_names=of_the_run)
    assert names(tmp_path / "run") == []
    assert list(place_splits(source, tmp_path / "run", seed=0, class_names=["ant", "cat", "dog"])) == ["train", "val"]


def test_other_classes_are_told_by_the_file_that_names_them(tmp_path: Path) -> None:
    source = open_source(WITH_SPLITS["YOLO"](tmp_path / "set"))
    with pytest.raises(UserError, match=r"data\.yaml does not have the classes of the run"):
        place_splits(source, tmp_path / "run", seed=0, class_names=["ant", "cat"])


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    source = open_source(WITH_SPLITS["YOLO"](tmp_path / "set"))
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        place_splits(source, tmp_path / "run", seed=0)
    assert names(tmp_path / "run") == []
