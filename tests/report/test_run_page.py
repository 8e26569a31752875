from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser import OpenPage
from made_up_detections import random_case
from PIL import Image

from brs_detr.analysis.analysis import Analysis, analyse
from brs_detr.report.pictures import draw_truth
from brs_detr.report.run_page import RunReport, write_run_page
from brs_detr.runtime.calibration import Calibration
from brs_detr.runtime.score_map import ScoreMap

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


def test_scores_without_a_meaning(report: RunReport, tmp_path: Path) -> None:
    text = write_run_page(report, tmp_path / "report.html", tmp_path / "report").read_text()
    assert "brs-detr calibrate runs/" in text and "recommended threshold" in text
    assert f"--threshold {report.analysis.ap.metrics['F1_threshold']:.3f}" in text
    assert not (tmp_path / "report" / "calibration_by_class.png").exists()


@pytest.mark.parametrize("thresholds", [0.5, (0.5, 0.25, 0.6, 0.5)])
def test_scores_with_a_meaning(thresholds: float | tuple[float, ...], tmp_path: Path) -> None:
    dataset, predictions = random_case(3)
    dataset["categories"][0]["name"] = r"$\evil{$ <b>"
    score_map = ScoreMap.lines([0.5, 1, 2, 1], [0.1, 0.2, 0.3, 0.4])
    calibration = Calibration(score_map, "Platt", 31, (9,) * 4, thresholds, "" if thresholds == 0.5 else "best F1")
    analysis = analyse(dataset, predictions, calibration=calibration)
    text = write_run_page(RunReport("x", "runs/x", analysis=analysis), tmp_path / "a.html", tmp_path / "a").read_text()
    assert "brs-detr calibrate" not in text and "threshold in use" in text
    assert "(Platt) was fitted to 31 images" in text
    assert {"calibration.png", "calibration_by_class.png"} <= {path.name for path in (tmp_path / "a").iterdir()}
    overall = analysis.calibrated.overall
    assert f"{overall['LaECE_0']:.3f}" in text and f"{analysis.raw.overall['LaECE_0']:.3f}" in text
    assert "--threshold" not in text
    if thresholds == 0.5:
        assert "from a score of 0.500" in text
    else:
        assert "by class</b>" in text
        assert "0.250 to 0.600, by class (best F1)" in text


def test_a_few_of_many_classes_are_drawn(tmp_path: Path) -> None:
    dataset, predictions = random_case(1, num_images=60, num_classes=21)
    calibration = Calibration(ScoreMap.lines([1] * 21, [0] * 21), "Platt", 31, (9,) * 21)
    report = RunReport("x", "x", analysis=analyse(dataset, predictions, calibration=calibration))
    text = write_run_page(report, tmp_path / "report.html", tmp_path / "report").read_text()
    assert "The 12 classes with the most objects." in text and "<summary>Scores of 21 classes</summary>" in text


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
