from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from tiny_runs import calibrate_file, uncalibrate_file

from brs_detr.errors import UserError
from brs_detr.evaluation import report
from brs_detr.evaluation.report import report_after_training, write_report
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import TrainedRun

QUIET = Console(quiet=True)


@pytest.fixture
def run(trained: TrainedRun, tmp_path: Path) -> RunFolder:
    """A copy of a finished run that a test may damage."""
    return RunFolder(Path(shutil.copytree(trained.work_dir, tmp_path / "my run")))


def test_everything_is_on_the_page(run: RunFolder) -> None:
    page = write_report(run.path, console=QUIET)
    text = page.read_text()
    assert page == run.report
    for title in ("What next", "Training", "Precision by class and size", "What went wrong", "Setup"):
        assert f"<h2>{title}</h2>" in text
    record = json.loads(run.record.read_text())
    assert record["data_hash"] in text and record["config_hash"] in text
    assert "<h1>my run</h1>" in text
    assert "AnyWidth" not in text and "CoDETR" in text
    names = {path.name for path in (run.path / "report").iterdir()}
    assert {"losses.png", "metrics.png", "errors.png", "confusion.png", "precision_recall.png"} <= names
    assert 'class="notice"' not in text
    assert 'src="http' not in text and 'href="http' not in text


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (lambda run: run.record.unlink(), "No record of the run"),
        (lambda run: run.record.write_text("{"), "No record of the run"),
        (lambda run: run.config.write_text("x = open('y')"), "No facts of the config"),
        (lambda run: run.predictions.write_text("["), "No analysis of detections"),
        (lambda run: run.predictions.write_text("[" * 200_000), "No analysis of detections"),
        (lambda run: run.predictions.write_text("[" + "9" * 5000 + "]"), "more than 4,300 digits at line 1, column 2"),
        (lambda run: run.predictions.write_text('[{"image_id": 1, "score": NaN}]'), "entry 0 is not a detection"),
        (lambda run: run.record.write_text('{"seed": 1, "splits": {"val": [1]}}'), "No record of the run"),
        (lambda run: [run.predictions.unlink(), run.best.unlink()], "never evaluated"),
        (lambda run: run.best.write_bytes(b"garbage"), "Raw scores only: "),
    ],
)
def test_what_is_missing_is_said(run: RunFolder, broken, sentence: str) -> None:
    broken(run)
    text = write_report(run.path, console=QUIET).read_text()
    assert sentence in text
    assert "<h2>Setup</h2>" in text


def test_a_calibrated_run_is_shown_as_it_predicts(run: RunFolder) -> None:
    uncalibrate_file(run.best)
    raw = write_report(run.path, console=QUIET).read_text()
    calibrate_file(run.best)
    text = write_report(run.path, console=QUIET).read_text()
    assert "brs-detr calibrate" in raw and "brs-detr calibrate" not in text
    assert "--threshold" in raw and "--threshold" not in text and "score of at least 0.500" in text
    assert "was fitted to 31 images" in text and 'class="notice"' not in text
    average_precision = "</b><span>AP on val"
    assert raw.split(average_precision)[0][-5:] == text.split(average_precision)[0][-5:]


def test_a_calibration_of_another_head_says_nothing_of_these_scores(run: RunFolder) -> None:
    calibrate_file(run.best, head="atss")
    assert "brs-detr calibrate" in write_report(run.path, console=QUIET).read_text()


def test_data_whose_classes_were_renamed_have_raw_scores_only(run: RunFolder, tmp_path: Path) -> None:
    calibrate_file(run.best)
    record = json.loads(run.record.read_text())
    renamed = Path(record["splits"]["val"]["annotation_file"]).read_text().replace('"star"', '"moon"')
    (tmp_path / "val.json").write_text(renamed)
    record["splits"]["val"]["annotation_file"] = str(tmp_path / "val.json")
    run.record.write_text(json.dumps(record))
    text = write_report(run.path, console=QUIET).read_text()
    assert "Raw scores only: " in text and "only one of them has moon, star" in text
    assert "Precision by class and size" in text


def test_images_that_are_gone(run: RunFolder, shapes: Path, tmp_path: Path) -> None:
    record = json.loads(run.record.read_text())
    record["splits"]["val"]["image_dir"] = str(tmp_path / "gone")
    run.record.write_text(json.dumps(record))
    text = write_report(run.path, console=QUIET).read_text()
    assert "No pictures" in text and "Precision by class and size" in text


def test_a_run_without_evaluations_has_its_losses(run: RunFolder) -> None:
    run.predictions.unlink()
    run.best.unlink()
    lines = run.metrics.read_text().splitlines()
    run.metrics.write_text("\n".join(line for line in lines if not line.endswith(tuple("0123456789"))) + "\n")
    text = write_report(run.path, console=QUIET).read_text()
    assert "losses by head" in text and "validation images" not in text


def test_another_split_is_evaluated(run: RunFolder) -> None:
    text = write_report(run.path, split="train", device="cpu", console=QUIET).read_text()
    assert "AP on train" in text


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        write_report(tmp_path, console=QUIET)


def test_a_report_that_fails_does_not_lose_the_training(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=(text := io.StringIO()), width=200)
    report_after_training(run, console)
    assert f"Report: {run.report}" in text.getvalue()

    def broken(*_: object) -> None:
        raise RuntimeError("no more ink")

    monkeypatch.setattr(report, "write_run_page", broken)
    report_after_training(run, console)
    assert "No report was written: RuntimeError: no more ink" in text.getvalue()
    assert f"brs-detr report {run.path}" in text.getvalue()
