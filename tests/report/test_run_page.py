from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser import OpenPage
from made_up_detections import random_case
from PIL import Image

from brs_detr.analysis.analysis import Analysis, analyse
from brs_detr.report.run_page import RunReport, write_run_page
from brs_detr.report.truth_pictures import draw_truth

EVIL = '<b>&"'


def rows() -> list[dict]:
    train = [
        {"iteration": n, "epoch": 1, "loss": 9.0 / n, "loss_rank": 3.0 / n, "roi.loss_iou": 6.0 / n, "lr": 1e-3,
         "grad_norm": 2.0}
        for n in range(1, 20)
    ]  # fmt: skip
    val = [{"iteration": 10 * n, "epoch": n, "AP": 0.1 * n, "AP50": 0.2 * n, "AP75": -1.0} for n in (1, 2)]
    return [*train, *val]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    folder = tmp_path_factory.mktemp("images")
    dataset, predictions = random_case(3, num_images=3)
    dataset["categories"][0]["name"] = EVIL
    for image in dataset["images"]:
        noise = np.random.default_rng(image["id"]).integers(0, 255, (200, 200, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / image["file_name"])
    analysis = analyse(dataset, predictions)
    record = {
        "status": "interrupted", "config": EVIL, "started": "2026-01-02T03:04:05", "best_epoch": 2, "epochs": 3,
        "seconds": 4000.0, "class_names": [EVIL], "command": f"brs-detr train {EVIL}", "seed": 7,
        "versions": {"torch": "2"},
        "splits": {"val": {"images": 3, "boxes": 9, "annotation_file": EVIL}},
    }  # fmt: skip
    pictures = [draw_truth(dataset, predictions, image, folder) for image in dataset["images"]]
    return RunReport(EVIL, f"runs/{EVIL}", record, rows(), {"detector": EVIL}, "val", analysis, pictures, (), "1.2.3")


def test_names_are_escaped_and_nothing_is_loaded(report: RunReport, tmp_path: Path) -> None:
    text = write_run_page(report, tmp_path / "report.html", tmp_path / "report").read_text()
    assert EVIL not in text
    assert "&lt;b&gt;&amp;&#34;" in text
    assert 'src="http' not in text and 'href="http' not in text and "@import" not in text
    assert "1 h 07 min" in text and "best epoch of 3" in text and "--seed 7" in text
    assert len(list((tmp_path / "report").glob("*.png"))) == text.count("<figcaption>") - len(report.pictures)


def test_many_classes_are_folded_away(tmp_path: Path) -> None:
    dataset, predictions = random_case(1, num_classes=21)
    report = RunReport("x", "x", analysis=analyse(dataset, predictions))
    text = write_run_page(report, tmp_path / "report.html", tmp_path / "report").read_text()
    assert "<summary>21 classes</summary>" in text


@pytest.mark.parametrize("seconds", [None, 12.0, 600.0])
def test_almost_nothing_is_known(seconds: float | None, tmp_path: Path) -> None:
    record = {} if seconds is None else {"seconds": seconds}
    page = write_run_page(RunReport("x", "x", record, missing=["No record."]), tmp_path / "a.html", tmp_path / "a")
    text = page.read_text()
    assert "No record." in text and "<svg" not in text
    assert {None: "–", 12.0: "12 s", 600.0: "10 min"}[seconds] in text


def test_nothing_was_detected(tmp_path: Path) -> None:
    dataset, _ = random_case(1)
    analysis: Analysis = analyse(dataset, [])
    text = write_run_page(RunReport("x", "x", analysis=analysis), tmp_path / "a.html", tmp_path / "a").read_text()
    assert "Missed:" in text


@pytest.mark.browser
def test_the_page_in_a_browser(report: RunReport, tmp_path: Path, browser_page: OpenPage) -> None:
    path = write_run_page(report, tmp_path / "report.html", tmp_path / "report")
    phone, desk = browser_page(path, width=390), browser_page(path, dark=True)
    for page in (phone, desk):
        assert page.errors == page.requests == []
        assert page.scroll_width <= page.width
        assert page.broken_pictures == page.unnamed_pictures == 0
    assert sum(phone.background) > 3 * 230 > 3 * 60 > sum(desk.background)
    assert EVIL in desk.text
