from __future__ import annotations

import re
from pathlib import Path

import pytest
from broken_data import ERRORS, REST, Broken, make_broken, spoil
from good_data import WRITERS

from brs_detr.data.checks.check import DataReport, PlacedFinding, check_source
from brs_detr.data.formats.source import open_source

SIZE = (128, 96)  # twice that of the images


def check(folder: Path) -> DataReport:
    return check_source(open_source(folder), resized_to=SIZE)


def find(report: DataReport, broken: Broken) -> PlacedFinding:
    placed, *_ = [placed for placed in report.placed_findings if placed.finding.kind.what.startswith(broken.what)]
    return placed


@pytest.mark.parametrize("form", WRITERS)
def test_good_data_have_no_findings(tmp_path: Path, form: str) -> None:
    report = check(WRITERS[form](tmp_path / "set"))
    assert report.placed_findings == [] and report.is_trainable


@pytest.mark.parametrize("name", [*ERRORS, *REST])
@pytest.mark.fault(
    "Images and annotations",
    "64 kinds of broken datasets, in COCO, Pascal VOC and YOLO format",
    "each is named before training, with where it is and what to do",
)
def test_broken_data_give_their_own_finding(tmp_path: Path, name: str) -> None:
    broken = make_broken(tmp_path / "set", name)
    report = check(tmp_path / "set")
    finding = find(report, broken).finding
    assert finding.kind.severity == broken.severity and finding.count == 1 and finding.kind.cure
    assert re.search(broken.example, finding.examples[0])
    serious = {placed.finding.kind.what for placed in report.placed_findings if placed.finding.kind.severity != "note"}
    assert all(what == finding.kind.what or what in broken.others for what in serious)
    assert report.is_trainable == (name in REST)


def test_damage_inside_of_an_image_shows_when_it_is_decoded(tmp_path: Path) -> None:
    spoil(WRITERS["COCO"](tmp_path / "set"))
    (placed,) = check(tmp_path / "set").of_severity("error")
    assert placed.finding.kind.what == "image with damaged data" and "t11.png" in placed.finding.examples[0]


def test_the_number_of_kinds_that_the_documentation_names() -> None:
    number = f"{len(ERRORS) + len(REST)} kinds of broken data"
    for page in ("README.md", "docs/reliability.md"):
        assert number in (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
