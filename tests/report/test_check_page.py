from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from broken_data import ERRORS, REST, make_broken
from browser import OpenPage
from good_data import edit_coco, write_good_coco
from rich.console import Console
from rich.table import Table

from brs_detr.data.checks.check import DataReport, check_source
from brs_detr.data.formats.source import open_source
from brs_detr.report.check_page import class_table, findings_table, verdict, write_check

EVIL = '<b>&"'
_VOID = {"meta", "img", "br", "path", "use", "image", "rect"}


class Page(HTMLParser):
    """Collects the links and the text of a page, and checks that its tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.alts: list[str] = []
        self.num_figures = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)
        self.num_figures += tag == "svg"
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "data")]
        self.alts += [value or "" for key, value in attrs if key == "alt"]

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def write(folder: Path, out: Path) -> tuple[Path, Page]:
    report = check_source(open_source(folder), resized_to=(128, 96))
    path = write_check(report, out, version="1.2.3")
    return path, Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """Make a dataset with findings of every severity, and with names that would break a page."""
    folder = write_good_coco(tmp_path / "set")

    def change(data: dict) -> None:
        data["categories"][0]["name"] = EVIL
        data["images"][0]["file_name"] = "<i>gone'.jpg"
        data["annotations"][4]["bbox"] = [60, 4, 30, 16]
        data["annotations"][6]["bbox"] = [6, 5, 0, 0]
        data["annotations"][8]["bbox"] = [0, 0, 64, 48]

    edit_coco(folder, change)
    edit_coco(folder, lambda data: data["categories"][0].update(name=EVIL), "val")
    return folder


def test_the_page_says_everything_and_needs_nothing(evil: Path, tmp_path: Path) -> None:
    path, page = write(evil, tmp_path / "out")
    assert path == tmp_path / "out" / "check.html" and page.open == []
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert len([link for link in page.links if link.startswith("data:image/jpeg")]) == len(page.alts) > 10
    for words in (
        "missing image file: 1",
        "box outside of the image: 1",
        "zero-area box: 1",
        "these boxes; [x, y, width, height]",
    ):
        assert words in page.text
    for words in ("error", "warning", "note", "training is refused", EVIL, "12 train images with 22 boxes", "1.2.3"):
        assert words in page.text.replace(" boxes on", "")
    assert page.num_figures == 5  # all images are of one size


def test_names_are_escaped(evil: Path, tmp_path: Path) -> None:
    path, page = write(evil, tmp_path / "out")
    html = path.read_text(encoding="utf-8")
    assert "<b>" not in re.sub(r"<b>[\d,]+</b>", "", html) and "<i>" not in html
    assert f"{EVIL}: annotation 3, image 2 (t01.jpg)" in page.alts


def test_the_record_beside_it_has_the_same_findings(evil: Path, tmp_path: Path) -> None:
    _, page = write(evil, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "check.json").read_text(encoding="utf-8"))
    assert record["brs_detr"] == "1.2.3" and record["errors"] == 2 and record["class_names"] == [EVIL, "cat"]
    for finding in record["findings"]:
        assert finding["cure"] in page.text and finding["examples"][0]["text"] in page.text


@pytest.mark.parametrize("name", ["no box at all", "cut JSON", "missing image", "no val split", "YOLO: pixels"])
def test_there_is_a_page_however_broken_the_data_are(tmp_path: Path, name: str) -> None:
    broken = make_broken(tmp_path / "set", name)
    _, page = write(tmp_path / "set", tmp_path / "out")
    assert {**ERRORS, **REST}[name].what in page.text and broken.severity in page.text and page.open == []


def test_there_is_a_page_where_nothing_can_be_read(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")
    for split in ("train", "val"):
        (folder / "annotations" / f"{split}.json").write_text("[")
    _, page = write(folder, tmp_path / "out")
    assert page.num_figures == 0 and "COCO format; no images" in page.text and "2 errors" in page.text


def test_images_of_several_sizes_get_a_figure(tmp_path: Path) -> None:
    make_broken(tmp_path / "set", "VOC: other size")
    _, page = write(tmp_path / "set", tmp_path / "out")
    assert page.num_figures == 6 and "images from 64 to 640 wide and from 48 to 48 high" in page.text


def test_the_same_data_give_the_same_page(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")
    pages = [write(folder, tmp_path / name)[0].read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1] and len(pages[0]) < 1_000_000


@pytest.mark.browser
def test_the_page_in_a_browser(evil: Path, tmp_path: Path, browser_page: OpenPage) -> None:
    path, _ = write(evil, tmp_path / "out")
    phone, desk = browser_page(path, width=390), browser_page(path, dark=True)
    for opened in (phone, desk):
        assert opened.errors == opened.requests == []
        assert opened.unnamed_pictures == opened.broken_pictures == 0
        assert opened.scroll_width == opened.width
        assert EVIL in opened.text and "<i>gone'.jpg" in opened.text
    assert min(phone.background) > 240 > 100 > max(phone.ink)
    assert max(desk.background) < 50 < 200 < min(desk.ink)
    assert phone.screenshot.stat().st_size > 10_000


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
    assert verdict(check(folder)).startswith("1 error in test: the data can be used for training, but")


def test_of_many_classes_the_first_are_shown(tmp_path: Path) -> None:
    folder = write_good_coco(tmp_path / "set")
    more = [{"id": number, "name": f"k{number}"} for number in range(3, 151)]
    for split in ("train", "val"):
        edit_coco(folder, lambda data: data["categories"].extend(more), split)
    shown = text(class_table(check(folder)))
    assert "k100 " in shown and "k101 " not in shown and "50 more classes" in shown
