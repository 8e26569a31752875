from __future__ import annotations

import json
from pathlib import Path

import pytest

from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import CocoSplit, find_splits
from brs_detr.errors import UserError
from brs_detr.run.run_folder import RunFolder
from brs_detr.run.run_record import data_hash, read_record, repeat_command
from brs_detr.training.train import TrainedRun


def test_the_record_of_a_run_tells_how_it_began_and_ended(trained: TrainedRun, shapes: Path) -> None:
    record = read_record(RunFolder(trained.work_dir))
    assert record["status"] == "finished"
    assert (record["best_ap"], record["epochs"]) == (trained.best_ap, 2)
    assert record["best_epoch"] in (1, 2)
    assert record["seconds"] >= 0
    assert record["peak_memory_mb"] > 0
    assert record["class_names"] == ["circle", "square", "triangle", "star", "ring", "cross"]
    assert {phase: split["images"] for phase, split in record["splits"].items()} == {"train": 6, "val": 4}
    assert record["splits"]["val"]["annotation_file"] == str(shapes / "annotations" / "val.json")
    assert {"torch", "mmdet", "mmengine", "numpy", "python", "brs_detr"} <= record["versions"].keys()


@pytest.fixture
def contents(shapes: Path) -> dict[str, tuple[CocoSplit, dict]]:
    return {name: (split, read_annotations(split.annotation_file)) for name, split in find_splits(shapes).items()}


def test_the_data_hash_knows_data_not_ids(contents: dict[str, tuple[CocoSplit, dict]], tmp_path: Path) -> None:
    before = data_hash(contents)
    dataset = contents["train"][1]
    for image in dataset["images"]:
        image["id"] += 1000
    for box in dataset["annotations"]:
        box["image_id"] += 1000
        box["id"] += 7
    dataset["annotations"].reverse()
    assert data_hash(contents) == before
    dataset["annotations"][0]["bbox"][0] += 1
    moved = data_hash(contents)
    assert moved != before
    dataset["categories"][0]["name"] = "disc"
    assert data_hash(contents) not in (moved, before)


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/opt/x/bin/brs-detr", "train", "my config.py"], "brs-detr train 'my config.py'"),
        (["/x/brs_detr/cli/__main__.py", "train", "c"], "python -m brs_detr.cli train c"),
    ],
)
def test_the_command_can_be_pasted_into_a_shell(argv: list[str], command: str) -> None:
    assert repeat_command(argv) == command


@pytest.mark.parametrize("text", [None, "{", "[]", json.dumps({"status": "running"})])
def test_a_folder_without_a_record(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json"):
        read_record(RunFolder(tmp_path))
