from __future__ import annotations

from pathlib import Path

import pytest

from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.errors import UserError
from brs_detr.files import write_whole, written_whole
from brs_detr.run.run_folder import RunFolder, checkpoint_file, folder_of
from brs_detr.training.train import TrainedRun


def test_a_run_stands_for_its_best_checkpoint(trained: TrainedRun, tmp_path: Path) -> None:
    assert checkpoint_file(trained.work_dir) == trained.best_checkpoint
    assert read_checkpoint(trained.work_dir).path == trained.best_checkpoint
    assert folder_of(trained.best_checkpoint) == trained.work_dir
    assert folder_of(tmp_path / "moved.pth") == tmp_path


def test_a_run_that_was_never_evaluated_stands_for_its_last_checkpoint(tmp_path: Path) -> None:
    last = RunFolder(tmp_path).last
    last.parent.mkdir()
    last.touch()
    assert checkpoint_file(tmp_path) == last


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        checkpoint_file(tmp_path)


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.txt", "first")
    with pytest.raises(RuntimeError), written_whole(tmp_path / "new" / "a.txt") as partial:
        partial.write_text("second")
        raise RuntimeError
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_text() == "first"
    write_whole(tmp_path / "new" / "a.txt", "half a character: \ud800")
    assert (tmp_path / "new" / "a.txt").read_text() == r"half a character: \ud800"
