from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from brs_detr.data.synthetic.shapes import make_shapes
from brs_detr.errors import UserError
from brs_detr.reproduce.data_sets import DATA_SETS, SplitFacts, check_data_set


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images in the layout of COCO 2017, with captions and keypoints."""
    folder = tmp_path_factory.mktemp("coco") / "coco"
    make_shapes(folder, 2, 1, (48, 48), seed=0)
    for name in ("train", "val"):
        (folder / name).rename(folder / f"{name}2017")
        file = folder / "annotations" / f"{name}.json"
        file.rename(file.with_name(f"instances_{name}2017.json"))
        (folder / "annotations" / f"captions_{name}2017.json").write_text("{}")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, whose numbers replace the published ones."""
    shutil.copytree(made, tmp_path / "coco")
    facts = {}
    for name in ("train", "val"):
        content = json.loads((made / "annotations" / f"instances_{name}2017.json").read_text())
        facts[name] = SplitFacts(len(content["images"]), len(content["annotations"]))
    made_up = dataclasses.replace(DATA_SETS["coco"], splits=facts, num_classes=len(content["categories"]))
    monkeypatch.setitem(DATA_SETS, "coco", made_up)
    return tmp_path / "coco"


def test_all_of_it_is_there(folder: Path) -> None:
    checked = check_data_set("coco", folder)
    file = folder / "annotations" / "instances_val2017.json"
    assert checked["val"].annotation_file == file
    assert checked["train"].image_dir == folder / "train2017"


def test_to_evaluate_no_training_images_are_needed(folder: Path) -> None:
    shutil.rmtree(folder / "train2017")
    assert list(check_data_set("coco", folder, ["val"])) == ["val"]


def test_every_fault_is_named_at_once(folder: Path) -> None:
    next((folder / "train2017").iterdir()).unlink()
    shutil.rmtree(folder / "val2017")
    with pytest.raises(UserError) as caught:
        check_data_set("coco", folder)
    assert "train2017 lacks 1 images, of which the first is " in str(caught.value)
    assert "val2017 is missing" in str(caught.value)
    assert "annotations_trainval2017.zip" in str(caught.value)


def test_boxes_that_are_too_few(folder: Path) -> None:
    file = folder / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"].pop()
    file.write_text(json.dumps(content))
    number = len(content["annotations"])
    with pytest.raises(UserError, match=rf"has {number} boxes, but should have {number + 1}"):
        check_data_set("coco", folder)


def test_another_data_set_is_not_coco(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 2 images, but should have 118,287"):
        check_data_set("coco", made)
    with pytest.raises(UserError, match=r"is not COCO 2017:\s+.*instances_train2017\.json is missing"):
        check_data_set("coco", tmp_path)
