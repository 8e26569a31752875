"""Read back what mmengine recorded during a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brs_detr.errors import UserError


@dataclass(frozen=True)
class History:
    """Records of a run in the order of time: `train` has losses by iteration, `val` has metrics by `step`."""

    train: list[dict[str, Any]]
    val: list[dict[str, Any]]


def read_scalars(*paths: str | Path) -> History:
    """Read `vis_data/scalars.json`, one JSON object per line.

    Args:
        paths: files of one run; a resumed run has one file per start. Where two records tell of the same step, the
            later one holds.

    Returns:
        Training and validation records, each sorted by step. A last line cut off by a crash is left out.

    Raises:
        UserError: a file is missing, or a line before its last one is not JSON.
    """
    train: dict[int, dict[str, Any]] = {}
    val: dict[int, dict[str, Any]] = {}
    for path in paths:
        for record in _read_lines(Path(path)):
            kind = train if "loss" in record else val
            kind[int(record.get("step", len(kind)))] = record
    return History([train[step] for step in sorted(train)], [val[step] for step in sorted(val)])


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"Cannot open the training log {path}: {error.strerror}.", "Give a run's folder.") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise UserError(f"{path}, line {number} is not JSON: {error.msg}.", "Delete that line.") from None
    return records
