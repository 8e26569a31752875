from __future__ import annotations

from pathlib import Path

import pytest
from broken_data import make_broken
from good_data import edit_coco, write_good_coco

from brs_detr.data.checks.check import DataReport, check_source
from brs_detr.data.formats.source import open_source
from brs_detr.report.mosaic import SAMPLES_PER_CLASS, Sample, class_samples, fault_samples


def check(folder: Path) -> DataReport:
    return check_source(open_source(folder), resized_to=(128, 96))


def test_samples_of_a_class_go_from_small_to_large(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")

    def grow(data: dict) -> None:
        for number, annotation in enumerate(data["annotations"]):
            annotation["bbox"][2:] = [3 + number / 3, 3 + number / 3]

    edit_coco(folder, grow)
    samples = class_samples(check(folder))
    assert {label: len(shown) for label, shown in samples.items()} == {0: SAMPLES_PER_CLASS, 1: SAMPLES_PER_CLASS}
    assert samples[0][0].text == "ant: annotation 1, image 1 (t00.jpg)"
    assert samples[1][-1].text == "cat: annotation 24, image 12 (t11.png)"
    assert {sample.picture.size for sample in samples[0]} == {(160, 160)}


def test_many_classes_get_fewer_samples_each(tmp_path: Path) -> None:
    report = check(write_good_coco(tmp_path / "set"))
    assert [len(shown) for shown in class_samples(report, max_samples=6).values()] == [3, 3]
    assert [len(shown) for shown in class_samples(report, max_samples=1).values()] == [1]


def test_images_with_a_fault_and_crowds_are_not_shown(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")
    edit_coco(folder, lambda data: [entry.update(iscrowd=1) for entry in data["annotations"] if entry["id"] > 4])
    (folder / "train" / "t00.jpg").write_text("no")
    samples = class_samples(check(folder))
    assert [sample.text for sample in samples[0]] == ["ant: annotation 3, image 2 (t01.jpg)"]


def test_a_class_without_training_boxes_is_shown_from_val(tmp_path: Path) -> None:
    make_broken(tmp_path / "set", "untrained class")
    edit_coco(tmp_path / "set", lambda data: data["categories"].append({"id": 3, "name": "dog"}))
    samples = class_samples(check(tmp_path / "set"))
    assert (
        set(samples) == {0, 1} and len(samples[1]) == 5 and "v00.jpg" in "".join(sample.text for sample in samples[1])
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("box outside", 1),
        ("zero-area box", 1),
        ("picture twice", 2),
        ("scaled image", 1),
        ("NaN box", 0),
        ("missing image", 0),
        ("text as image", 0),
        ("unused class", 0),
        ("unknown image", 0),
        ("unlisted image", 1),
        ("YOLO: pixels", 0),
    ],
)
def test_faults_are_shown_where_there_is_something_to_see(tmp_path: Path, name: str, count: int) -> None:
    make_broken(tmp_path / "set", name)
    report = check(tmp_path / "set")
    samples = fault_samples(report, report.placed_findings[0])
    assert len(samples) == count
    assert all(isinstance(sample, Sample) and max(sample.picture.size) <= 160 for sample in samples)


def test_no_more_faults_are_shown_than_asked_for(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")
    edit_coco(folder, lambda data: [entry.update(bbox=[5, 5, 0, 0]) for entry in data["annotations"][4:]])
    report = check(folder)
    assert len(fault_samples(report, report.placed_findings[0], limit=3)) == 3
