from __future__ import annotations

import shutil
from pathlib import Path

from broken_data import make_broken
from good_data import edit_coco, write_good_coco
from rich.console import Console
from rich.table import Table

from brs_detr.data.checks.check_source import check_source
from brs_detr.data.checks.data_report import DataReport
from brs_detr.data.formats.source import open_source
from brs_detr.report.check_table import class_table, findings_table, verdict


def check(folder: Path) -> DataReport:
    return check_source(open_source(folder), resized_to=(128, 96))


def text(table: Table) -> str:
    console = Console(width=160, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(table)
    return console.export_text()


def test_a_finding_is_shown_with_count_example_and_cure(tmp_path: Path) -> None:
    make_broken(tmp_path / "set", "tiny box")
    shown = text(findings_table(check(tmp_path / "set")))
    for part in ("warning", "train", "1 of 24", "tiny box", "annotation 3, image 2", "cut the images into tiles"):
        assert part in shown


def test_names_are_not_read_as_markup(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")
    for split in ("train", "val"):
        edit_coco(folder, lambda data: data["categories"].append({"id": 3, "name": "[red]x[/]"}), split)
    report = check(folder)
    assert "[red]x[/]" in text(class_table(report)) and "[red]x[/]" in text(findings_table(report))


def test_classes_are_counted_by_split(tmp_path: Path) -> None:
    lines = [line.split() for line in text(class_table(check(write_good_coco(tmp_path / "set")))).splitlines()]
    assert ["class", "train", "val"] in lines and ["ant", "12", "5"] in lines
    assert ["boxes", "24", "10"] in lines and ["images", "12", "5"] in lines


def test_the_verdict_is_one_line(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")
    assert verdict(check(folder)) == "No errors: ready to train. 0 warnings, 0 notes."
    edit_coco(folder, lambda data: data["annotations"][0].update(bbox=[5, 5, 0, 9]))
    assert verdict(check(folder)) == "No errors: ready to train. 1 warning, 0 notes."
    (folder / "train" / "t05.jpg").unlink()
    assert verdict(check(folder)) == "1 error: training will refuse this data. 1 warning, 0 notes."


def test_the_verdict_on_an_error_in_test(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")
    shutil.copytree(folder / "val", folder / "test")
    (folder / "test" / "v00.jpg").unlink()
    (folder / "annotations" / "test.json").write_text((folder / "annotations" / "val.json").read_text())
    assert verdict(check(folder)).startswith("1 error in test: training goes on, measuring on test will be refused.")


def test_of_many_classes_the_first_are_shown(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")
    more = [{"id": number, "name": f"k{number}"} for number in range(3, 151)]
    for split in ("train", "val"):
        edit_coco(folder, lambda data: data["categories"].extend(more), split)
    shown = text(class_table(check(folder)))
    assert "k100 " in shown and "k101 " not in shown and "and 50 more classes, on the page" in shown
