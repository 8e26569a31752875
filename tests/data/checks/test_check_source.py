from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from good_data import SIZE, STEMS, WRITERS, edit_coco, write_good_coco, write_image

from brs_detr.data.checks.check import find_faults
from brs_detr.data.checks.check_source import UNREADABLE_SPLIT, check_source
from brs_detr.data.checks.data_report import DataReport
from brs_detr.data.formats.source import open_source

RESIZED = (2 * SIZE[0], 2 * SIZE[1])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_good_coco(tmp_path / "set")


def check(folder: Path) -> DataReport:
    return check_source(open_source(folder), resized_to=RESIZED)


def whats(report: DataReport) -> list[tuple[str, str]]:
    return [(placed.split, placed.finding.kind.what) for placed in report.placed_findings]


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_same_numbers(tmp_path: Path, form: str) -> None:
    report = check(WRITERS[form](tmp_path / "set"))
    assert (report.source.format, report.class_names) == (form, ("ant", "cat"))
    train, val = (report.splits[name].statistics for name in ("train", "val"))
    assert (train.num_images, train.num_boxes, val.num_images, val.num_boxes) == (12, 24, 5, 10)
    assert train.boxes_by_class.tolist() == [12, 12] and train.box_sides.min() == pytest.approx(300**0.5)
    assert train.resized_box_sides == pytest.approx(2 * train.box_sides)


def test_progress_counts_the_images_of_all_splits(good: Path) -> None:
    steps: list[tuple[int, int]] = []
    check_source(open_source(good), progress=lambda *step: steps.append(step))
    assert steps == [(done, 17) for done in range(1, 18)]


def test_findings_come_with_their_split_the_worst_first(good: Path) -> None:
    edit_coco(good, lambda data: data["annotations"][0].update(bbox=[2, 4, 0, 16]))
    edit_coco(good, lambda data: data["annotations"][0].update(bbox=[0, 0, 64, 48]))
    edit_coco(good, lambda data: data["annotations"][2].update(bbox=[0, 0, 0, 5]))
    (good / "val" / "v00.jpg").unlink()
    write_image(good / "val", "x00")
    assert whats(check(good)) == [
        ("val", "missing image file"),
        ("train", "zero-area box"),
        ("train", "box over the whole image"),
        ("", "image in the folder that no annotation file lists"),
    ]


def test_boxes_in_fractions_are_not_called_tiny_as_well(good: Path) -> None:
    def shrink(data: dict) -> None:
        for thing in data["annotations"]:
            thing["bbox"] = [number / side for number, side in zip(thing["bbox"], (*SIZE, *SIZE), strict=True)]

    edit_coco(good, shrink)
    assert whats(check(good)) == [("train", "box in fractions of the image instead of pixels")]


def test_a_split_that_cannot_be_read_does_not_hide_the_others(good: Path) -> None:
    (good / "annotations" / "train.json").write_text("{")
    (good / "val" / "v00.jpg").unlink()
    report = check(good)
    assert [what for _, what in whats(report)[:2]] == [UNREADABLE_SPLIT, "missing image file"]
    assert report.splits["train"].statistics.num_images == 0 and report.splits["val"].statistics.num_images == 5


def test_the_errors_are_those_of_the_quick_check(good: Path) -> None:
    edit_coco(good, lambda data: data["annotations"][0].update(bbox=[60, 4, 30, 16]))
    (good / "train" / "t03.jpg").write_text("no")
    quick = find_faults(open_source(good).splits["train"])
    thorough = check(good).splits["train"].findings
    assert [str(finding) for finding in quick.fatal] == [str(f) for f in thorough if f.kind.is_fatal]


def test_an_error_in_test_alone_does_not_keep_from_training(good: Path) -> None:
    shutil.copytree(good / "val", good / "test")
    shutil.copy(good / "annotations" / "val.json", good / "annotations" / "test.json")
    (good / "test" / "v00.jpg").unlink()
    report = check(good)
    assert report.of_severity("error") and report.is_trainable
    (good / "annotations" / "val.json").unlink()
    report = check(good)
    assert report.of_severity("error") and not report.is_trainable  # test now stands in for val


def test_what_all_splits_have_alike_is_said_once(good: Path) -> None:
    for split in STEMS:
        edit_coco(good, lambda data: data["categories"][1].update(name="ant"), split)
    assert [split for split, what in whats(check(good)) if what == "duplicate class name"] == [""]


def test_the_record_is_json_and_names_every_example(good: Path) -> None:
    def add(data: dict) -> None:
        for number in range(60):
            data["annotations"].append({"id": 100 + number, "image_id": 1, "category_id": 5, "bbox": [1, 1, 2, 2]})

    edit_coco(good, add)
    record = json.loads(json.dumps(check(good).record()))
    assert (record["errors"], record["warnings"], record["notes"], record["format"]) == (1, 0, 0, "COCO")
    (finding,) = record["findings"]
    assert (finding["split"], finding["count"], finding["severity"]) == ("train", 60, "error")
    assert len(finding["examples"]) == 50 and finding["examples"][0]["annotation_id"] == 100
    assert record["splits"]["train"]["classes"]["ant"] == {"boxes": 12, "images": 12}
    assert record["class_names"] == ["ant", "cat"] and record["resized_to"] == list(RESIZED)


def test_without_splits_it_is_said_what_training_will_do(good: Path) -> None:
    shutil.rmtree(good / "val")
    (good / "annotations" / "val.json").unlink()
    (placed,) = check(good).placed_findings
    assert (placed.split, placed.finding.kind.severity) == ("", "note")
    assert "80 %" in placed.finding.examples[0]


def test_an_error_that_leaves_no_box_is_not_followed_by_a_warning_for_each_class(tmp_path: Path) -> None:
    WRITERS["YOLO"](tmp_path / "set")
    for file in (tmp_path / "set" / "labels").rglob("*.txt"):
        file.write_text("0,0.5,0.5,0.2,0.2")
    report = check_source(open_source(tmp_path / "set"), resized_to=SIZE)
    assert [placed.finding.kind.what for placed in report.of_severity("error")] == ["object that cannot be read"] * 2
    assert report.of_severity("warning") == []
