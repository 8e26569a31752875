"""What a run has written since the checkpoint that it goes on from: it will be written again."""

from __future__ import annotations

import json
from typing import Any

from brs_detr.run.metrics_file import read_rows, write_rows
from brs_detr.run.run_folder import RunFolder, write_whole


def clear_unsaved(run: RunFolder, iteration: int, num_evaluated: int) -> None:
    """Take newer records out of `scalars.json` and `metrics.csv`, and delete files that were begun and not ended.

    Args:
        run: folder of the run.
        iteration: the last one that the checkpoint knows of.
        num_evaluated: the last epoch whose evaluation it knows of.
    """
    for partial in run.path.rglob(".*.partial"):
        partial.unlink()
    if run.scalars.is_file():
        lines = run.scalars.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _is_older(line, iteration, num_evaluated)]
        write_whole(run.scalars, "".join(f"{line}\n" for line in kept))
    rows = read_rows(run.metrics)
    if rows:
        last = {True: iteration, False: num_evaluated}
        write_rows(run.metrics, list(rows[0]), (row for row in rows if _step(row) <= last[bool(row["loss"])]))


def _is_older(line: str, iteration: int, num_evaluated: int) -> bool:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:  # the last one, which was never written to its end
        return False
    return bool(record.get("step", 0) <= (iteration if "loss" in record else num_evaluated))


def _step(row: dict[str, Any]) -> int:
    return int(row["iteration"] if row["loss"] else row["epoch"])
