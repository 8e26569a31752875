from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner

from brs_detr.cli import main
from brs_detr.training.train import TrainedRun


def test_report_of_a_run(trained: TrainedRun, tmp_path: Path) -> None:
    run = shutil.copytree(trained.work_dir, tmp_path / "run")
    result = CliRunner().invoke(main, ["report", str(run)])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"Report: {run / 'report.html'}"
    assert (run / "report.html").is_file()


def test_no_run_is_one_message(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["report", str(tmp_path / "nowhere")])
    assert result.exit_code == 2
    assert "not a run folder" in result.output
    assert "Traceback" not in result.output
