from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from click.testing import CliRunner, Result
from PIL import Image
from tiny_runs import calibrate_file, uncalibrate_file

from brs_detr.cli import main
from brs_detr.training.train import TrainedRun


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["eval", *map(str, arguments)])


def test_table_and_files(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    result = invoke(trained.best_checkpoint, "--data", shapes, "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in ("circle", "square", "all classes", "AP50", "boxes"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "predictions.json", "pictures.jpg"}
    assert not re.search(r"(^|\s)-1(\.0*)?(\s|$)", result.stdout), "nothing measured is shown as a dash"
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["num_images"] == 4


def test_scores_of_a_checkpoint_that_has_no_calibration(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(trained.best_checkpoint, tmp_path))
    uncalibrate_file(path)
    result = invoke(path, "--data", shapes, "--calibration", "--out", tmp_path, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert f"brs-detr calibrate {path}" in result.stdout
    assert "LaECE_0, all detections" in result.stdout and "calibrated" not in result.stdout
    record = json.loads((tmp_path / "calibration.json").read_text())
    assert record["head"] == "query" and "calibrated" not in record
    assert not re.search(r"(^|\s)-1(\.0*)?(\s|$)", result.stdout), "nothing measured is shown as a dash"


def test_scores_of_a_calibrated_checkpoint(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(trained.best_checkpoint, tmp_path))
    calibrate_file(path, "roi")
    result = invoke(path, "--data", shapes, "--calibration", "--head", "roi", "--out", tmp_path, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "calibrated" in result.stdout and "brs-detr calibrate" not in result.stdout
    record = json.loads((tmp_path / "calibration.json").read_text())
    assert record["map"] == {"kind": "Platt", "num_images": 31, "goal": ""}
    assert record["calibrated"]["threshold"] == 0.5 and record["num_images"] == 4
    assert record["raw"].keys() == record["calibrated"].keys()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert record["raw"]["best_F1"] == metrics["F1"], "AP and its company are those of raw scores"
    assert record["raw"]["per_class"].keys() == metrics["per_class"].keys()
    with Image.open(tmp_path / "calibration.png") as figure:
        assert figure.width > 1.5 * figure.height


def test_output_goes_beside_the_checkpoint(trained: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(trained.best_checkpoint.read_bytes())
    assert invoke(tmp_path / "best.pth", "--head", "atss", "--device", "cpu").exit_code == 0
    assert (tmp_path / "eval_val_atss" / "metrics.json").is_file()


def test_refusals(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "garbage.pth").write_bytes(b"garbage")
    for arguments, message in (
        ([tmp_path / "none.pth"], "Cannot open"),
        ([tmp_path / "garbage.pth"], "garbage.pth is damaged or not a checkpoint"),
        ([trained.best_checkpoint, "--head", "fcos"], "--head fcos"),
        ([trained.best_checkpoint, "--data", shapes, "--split", "test"], "has no test split"),
        ([trained.best_checkpoint, "--split", "test"], "had no test split"),
        ([trained.best_checkpoint, "--data", tmp_path / "none"], "There is no dataset folder"),
        ([trained.best_checkpoint, "--split", "all"], "Invalid value for '--split'"),
    ):
        result = invoke(*arguments, "--out", tmp_path / "out")
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert "Traceback" not in result.output
        assert not (tmp_path / "out").exists()
