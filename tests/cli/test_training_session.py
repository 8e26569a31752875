from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.cli.training_session import conclude, resumable
from brs_detr.engine.train import TrainedRun


def interrupt(work_dir: Path) -> None:
    with pytest.raises(SystemExit) as stop, resumable(work_dir):
        raise KeyboardInterrupt
    assert stop.value.code == 130


def test_interrupt_after_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["brs-detr", "finetune", "my data", "--resume"])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.pth").touch()
    interrupt(tmp_path)
    assert "To go on:\n  brs-detr finetune 'my data' --resume\n" in capsys.readouterr().err


def test_interrupt_before_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupt(tmp_path)
    assert "Stopped before the first checkpoint." in capsys.readouterr().err


def test_run_that_was_never_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conclude(TrainedRun(tmp_path, 1, -1.0), with_report=False)
    assert capsys.readouterr().out == f"Never evaluated. The weights are in {tmp_path / 'checkpoints' / 'last.pth'}\n"


def test_only_the_first_process_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    conclude(TrainedRun(tmp_path, 1, -1.0), with_report=True)
    assert capsys.readouterr().out == ""
