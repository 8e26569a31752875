"""Measurements as data: one JSON file a run."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from brs_detr.errors import UserError

FOLDER = Path("benchmarks/results")


@dataclass(frozen=True)
class Record:
    """What one implementation takes at one size.

    Args:
        suite: ``paper`` or ``co-detr``.
        name: of the size, unique within its suite.
        num_logits: of all rows together.
        num_positives: of all rows together.
        num_rows: losses that one call computes.
        num_classes: logits a box.
        implementation: a key of `brs_detr.bench.implementations.IMPLEMENTATIONS`.
        repeats: calls that were timed, 0 where there is no time.
        median_s: forward and backward in seconds; None where it was skipped.
        peak_extra_bytes: most memory held at a time beyond the input; None where it was skipped.
        operations: by the cost model of `brs_detr.bench.operations.OperationCounter`; None where it was skipped.
        minimum_bytes: what any of these losses must move: twice over logits and targets, once over the gradient.
        bytes_per_s: ``minimum_bytes / median_s``, to compare with ``copy_bytes_per_s`` of the environment.
        skipped: why it was not measured, or None.
    """

    suite: str
    name: str
    num_logits: int
    num_positives: int
    num_rows: int
    num_classes: int
    implementation: str
    repeats: int
    median_s: float | None
    peak_extra_bytes: int | None
    operations: int | None
    minimum_bytes: int
    bytes_per_s: float | None
    skipped: str | None


@dataclass(frozen=True)
class BenchResult:
    """A run of `brs-detr bench losses`: where, and what was measured."""

    environment: dict[str, Any]
    records: list[Record]


def default_path(environment: dict[str, Any], what: str = "losses") -> Path:
    """Device and version of PyTorch are in the name, so that results of several machines lie side by side."""
    device = re.sub(r"[^a-z0-9]+", "-", environment["device_name"].lower()).strip("-")
    return FOLDER / f"{what}_{device}_torch{environment['torch'].split('+')[0]}.json"


def require_writable(path: Path) -> None:
    """Make the folder of a result and try to write there, before anything takes time.

    Raises:
        UserError: it cannot be written.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file.", "Name the file: --out FILE.json")
    beside = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.", "Choose another place with --out.") from error


def write_result(result: BenchResult, path: Path) -> None:
    """Write a result beside its place and rename it, so that a crash leaves the one before."""
    content = {"environment": result.environment, "records": [asdict(record) for record in result.records]}
    beside = _beside(path)
    beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def read_result(path: Path) -> BenchResult:
    """Read what `write_result` wrote.

    Raises:
        UserError: there is no such file, or it is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot open the result {path}: {error.strerror}.") from error
    except ValueError as error:
        raise _not_a_result(path, f"it is not JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("environment"), dict):
        raise _not_a_result(path, "it has no object 'environment'")
    records = content.get("records")
    if not isinstance(records, list) or not records:
        raise _not_a_result(path, "it has no list 'records'")
    return BenchResult(content["environment"], [_record(entry, path, place) for place, entry in enumerate(records)])


def _record(entry: Any, path: Path, place: int) -> Record:
    names = {field.name for field in fields(Record)}
    if not isinstance(entry, dict) or not names <= entry.keys():
        missing = sorted(names - entry.keys()) if isinstance(entry, dict) else sorted(names)
        raise _not_a_result(path, f"record {place} has no {missing[0]!r}")
    return Record(**{name: entry[name] for name in names})


def _not_a_result(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a result of `brs-detr bench losses`: {reason}.")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")
