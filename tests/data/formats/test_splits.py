from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
from brs_detr.data.formats.splits import _deal_out, _need, _units, _wanted, describe_splits, place_splits, split_images
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


SHARES = {"train": 0.8, "val": 0.2}


def make(classes: list[set[int]], names: list[str] | None = None) -> dict:
    """A dataset with one image for each set of categories."""
    names = names or [f"{number:04}.jpg" for number in range(len(classes))]
    annotations = [
        {"image_id": number, "category_id": label, "bbox": [0, 0, 5, 5]}
        for number, labels in enumerate(classes)
        for label in sorted(labels)
    ]
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 0, "name": "x"}], "info": {}}


def counts(part: dict) -> Counter[int]:
    return Counter(annotation["category_id"] for annotation in part["annotations"])


def drawn(num_images: int, num_classes: int) -> list[set[int]]:
    """Classes that get rarer from one to the next."""
    rng = random.Random(7)
    return [
        {label for label in range(num_classes) if rng.random() < 0.7 / (label + 1) ** 1.5} for _ in range(num_images)
    ]


labels_of_images = st.lists(st.sets(st.integers(0, 6), max_size=4), min_size=1, max_size=30)


@given(labels_of_images, st.integers(0, 3))
def test_parts_are_the_whole_and_have_the_classes_that_they_can_have(classes: list[set[int]], seed: int) -> None:
    dataset = make(classes)
    parts = split_images(dataset, SHARES, seed)
    images = [image["id"] for part in parts.values() for image in part["images"]]
    assert sorted(images) == list(range(len(classes)))
    total, train, val = counts(dataset), counts(parts["train"]), counts(parts["val"])
    assert set(train) == set(total)  # what is not trained cannot be found
    for part in parts.values():
        ids = {image["id"] for image in part["images"]}
        assert part["annotations"] == [entry for entry in dataset["annotations"] if entry["image_id"] in ids]
        assert (part["categories"], part["info"]) == (dataset["categories"], dataset["info"])
    for label in set(total) - set(val):  # only what could not be moved without a loss is missing
        holders = [labels for labels in classes if label in labels]
        assert all(any(train[other] == 1 for other in labels) for labels in holders)


def dealt_out_slowly(units: list, shares: dict[str, float]) -> dict[str, list]:
    """The rule as it is written: what is left is counted anew for every class."""
    parts: dict[str, list] = {name: [] for name in shares}
    wanted = _wanted(Counter(label for unit in units for label in unit.classes), shares)
    room = {name: share * len(units) for name, share in shares.items()}
    while units:
        left = Counter(label for unit in units for label in unit.classes)
        rarest = min(left, key=lambda label: (left[label], label), default=None)
        for unit in [unit for unit in units if rarest is None or rarest in unit.classes]:
            name = max(shares, key=lambda part: _need(unit, rarest, wanted[part], room[part]))
            parts[name].append(unit)
            room[name] -= 1
            for label in unit.classes:
                wanted[name][label] -= 1
        units = [unit for unit in units if rarest is not None and rarest not in unit.classes]
    return parts


@given(labels_of_images)
def test_the_quick_way_deals_out_by_the_rule(classes: list[set[int]]) -> None:
    units = _units(make(classes))
    dealt = {name: list(part.units.values()) for name, part in _deal_out(units, SHARES).items()}
    assert dealt == dealt_out_slowly(units, SHARES)


@given(labels_of_images, st.randoms())
def test_the_order_of_the_file_plays_no_part(classes: list[set[int]], rng: random.Random) -> None:
    dataset = make(classes)
    shuffled = {**dataset, "images": list(dataset["images"]), "annotations": list(dataset["annotations"])}
    rng.shuffle(shuffled["images"])
    rng.shuffle(shuffled["annotations"])
    one, other = split_images(dataset, SHARES, 3), split_images(shuffled, SHARES, 3)
    for name in SHARES:
        assert {image["id"] for image in one[name]["images"]} == {image["id"] for image in other[name]["images"]}


def test_the_seed_decides() -> None:
    dataset = make(drawn(60, 4))
    members = [[image["id"] for image in split_images(dataset, SHARES, seed)["val"]["images"]] for seed in (0, 0, 1)]
    assert members[0] == members[1] != members[2]


@pytest.mark.parametrize(("num_images", "num_classes"), [(30, 3), (200, 12), (1000, 40)])
def test_every_class_has_its_share(num_images: int, num_classes: int) -> None:
    dataset = make(drawn(num_images, num_classes))
    parts = split_images(dataset, SHARES, 0)
    assert len(parts["val"]["images"]) == pytest.approx(0.2 * num_images, abs=2)
    total, val = counts(dataset), counts(parts["val"])
    assert len(total) > num_classes / 2
    for label, count in total.items():
        assert abs(val[label] - 0.2 * count) <= max(1, 0.05 * count)
        assert val[label] >= 1 or count == 1


def test_images_without_objects_are_divided_too() -> None:
    parts = split_images(make([set()] * 50), SHARES, 0)
    assert [len(part["images"]) for part in parts.values()] == [40, 10]


def test_three_parts_and_any_sum_of_fractions() -> None:
    parts = split_images(make([{0, 1}] * 20), {"train": 6, "val": 2, "test": 2}, 0)
    assert [len(part["images"]) for part in parts.values()] == [12, 4, 4]
    few = split_images(make([{0}, {0}]), {"train": 6, "val": 2, "test": 2}, 0)
    assert [len(part["images"]) for part in few.values()] == [1, 1, 0]


def test_crowds_and_boxes_of_zero_area_are_no_objects() -> None:
    dataset = make([{0}, {0}, {0}])
    dataset["annotations"][0]["bbox"] = [3, 3, 0, 5]
    dataset["annotations"][1]["iscrowd"] = 1
    assert [image["id"] for image in split_images(dataset, SHARES, 0)["train"]["images"]].count(2) == 1


def test_copies_of_one_picture_stay_together() -> None:
    names = [f"{picture}_jpg.rf.{copy}ab12.jpg" for picture in range(20) for copy in range(3)]
    parts = split_images(make([{0}] * 60, names), SHARES, 0)
    pictures = [{image["file_name"].split("_")[0] for image in part["images"]} for part in parts.values()]
    assert [len(part) for part in pictures] == [16, 4] and not pictures[0] & pictures[1]
