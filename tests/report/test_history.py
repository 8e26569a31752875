from __future__ import annotations

import json
from pathlib import Path

import pytest

from brs_detr.errors import UserError
from brs_detr.report.history import History, read_scalars

TRAIN = [{"lr": 1e-4, "loss": 30 / n, "loss_rank": 1.0, "epoch": 1, "iter": n, "step": n} for n in range(1, 40)]
VAL = [{"coco/AP": 0.1 * n, "coco/AP50": 0.2 * n, "time": 0.1, "step": n} for n in range(1, 5)]


def write_lines(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_training_and_validation_records_are_told_apart(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "scalars.json", *TRAIN[:20], VAL[0], *TRAIN[20:], VAL[1])
    assert read_scalars(file) == History(TRAIN, VAL[:2])


def test_a_resumed_run_continues_and_the_later_record_holds(tmp_path: Path) -> None:
    again = [{**record, "loss": 0.5} for record in TRAIN[5:9]]
    first, second = write_lines(tmp_path / "a.json", *TRAIN[:8]), write_lines(tmp_path / "b.json", *again)
    assert read_scalars(first, second).train == [*TRAIN[:5], *again]


@pytest.mark.fault(
    "Interruptions",
    "killed while a line of `scalars.json` is written",
    "it is left out; damage before the last line is named",
)
def test_a_line_cut_off_at_the_end_is_left_out_and_one_before_refused(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.json", *TRAIN[:3])
    file.write_text(file.read_text() + '{"loss": 1.')
    assert read_scalars(file).train == TRAIN[:3]
    file.write_text('{"loss": 1.\n{"loss": 1.0, "step": 2}\n')
    with pytest.raises(UserError, match="line 1 is not JSON"):
        read_scalars(file)
    with pytest.raises(UserError, match="Cannot open the training log"):
        read_scalars(tmp_path / "absent.json")
