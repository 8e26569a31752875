from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner, Result

from brs_detr.cli import main
from brs_detr.engine.training.train import TrainedRun


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["eval", *map(str, arguments)])


def test_table_and_files(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    result = invoke(trained.best_checkpoint, "--data", shapes, "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in ("circle", "square", "all classes", "AP50", "boxes"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "predictions.json", "pictures.jpg"}
    assert not re.search(r"(^|\s)-1(\.0*)?(\s|$)", result.stdout), "nothing measured is shown as a dash"
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["num_images"] == 4


def test_output_goes_beside_the_checkpoint(trained: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(trained.best_checkpoint.read_bytes())
    assert invoke(tmp_path / "best.pth", "--head", "atss", "--device", "cpu").exit_code == 0
    assert (tmp_path / "eval_val_atss" / "metrics.json").is_file()


def test_refusals(trained: TrainedRun, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "garbage.pth").write_bytes(b"garbage")
    for arguments, message in (
        ([tmp_path / "none.pth"], "Cannot open the checkpoint"),
        ([tmp_path / "garbage.pth"], "garbage.pth is damaged or not a checkpoint"),
        ([trained.best_checkpoint, "--head", "fcos"], "--head fcos"),
        ([trained.best_checkpoint, "--data", shapes, "--split", "test"], "has no test split"),
        ([trained.best_checkpoint, "--data", tmp_path / "none"], "There is no data set folder"),
        ([trained.best_checkpoint, "--split", "all"], "Invalid value for '--split'"),
    ):
        result = invoke(*arguments, "--out", tmp_path / "out")
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert "Traceback" not in result.output
        assert not (tmp_path / "out").exists()
