"""The files in a run folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brs_detr.errors import UserError
from brs_detr.files import write_whole


class RunFolder:
    """Paths in a run folder. The files need not exist.

    Args:
        path: the folder.

    Attributes:
        best: checkpoint with the best AP: weights, class names and config.
        last: checkpoint with everything needed to resume.
        previous: the checkpoint before `last`, in case that one is damaged.
        config: the resolved config, which can be trained again.
        record: how the run started and ended, see `brs_detr.run.run_record`.
        lock: which process trains here, see `brs_detr.run.locks`.
        metrics: losses and metrics as CSV.
        scalars: losses and metrics as mmengine writes them.
        predictions: detections of the best weights on the validation split, as COCO results.
        data: annotation files made for this run, if those of the dataset cannot be used directly.
        report: the HTML report.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "checkpoints" / "best.pth"
        self.last = path / "checkpoints" / "last.pth"
        self.previous = path / "checkpoints" / "previous.pth"
        self.config = path / "config.py"
        self.record = path / "run.json"
        self.lock = path / ".lock"
        self.metrics = path / "metrics.csv"
        self.scalars = path / "vis_data" / "scalars.json"
        self.predictions = path / "predictions.json"
        self.data = path / "data"
        self.report = path / "report.html"

    @property
    def can_resume(self) -> bool:
        """Whether there is a checkpoint to resume from, which may be damaged."""
        return self.last.exists() or self.previous.exists()


def checkpoint_file(path: str | Path) -> Path:
    """Return a checkpoint file, given its path or that of its run folder, in which the best one is preferred.

    Raises:
        UserError: the folder has no checkpoint.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    for file in (RunFolder(path).best, RunFolder(path).last):
        if file.is_file():
            return file
    raise UserError(f"{path} is not a run folder: it has no checkpoints/best.pth.", "Give a checkpoint.")


def folder_of(checkpoint: Path) -> Path:
    """Return the folder for files made from a checkpoint: its run folder, or else the folder that it is in."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a `metrics.csv`, without an incomplete last one. A missing file has no rows."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and row["iteration"]]


def read_numbers(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a `metrics.csv` as numbers, without empty cells."""
    return [
        {name: int(text) if name in ("iteration", "epoch") else float(text) for name, text in row.items() if text}
        for row in read_rows(path)
    ]


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a `metrics.csv` atomically. Values without a column are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())
