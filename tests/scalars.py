"""The records of mmengine for a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class History(NamedTuple):
    """Records by step: `train` has losses, `val` has metrics."""

    train: list[dict[str, Any]]
    val: list[dict[str, Any]]


def read_scalars(path: Path) -> History:
    """Read a `scalars.json`. Of two records of the same step, the later one counts."""
    train: dict[int, dict[str, Any]] = {}
    val: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        kind = train if "loss" in record else val
        kind[record.get("step", len(kind))] = record
    return History([train[step] for step in sorted(train)], [val[step] for step in sorted(val)])
