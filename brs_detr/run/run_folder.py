"""Where the files of a training run are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brs_detr.errors import UserError
from brs_detr.files import write_whole


class RunFolder:
    """Paths in the folder of a run. None of the files need exist.

    Args:
        path: the folder.

    Attributes:
        best: weights, class names and config of the epoch with the best AP.
        last: everything needed to resume.
        previous: the last checkpoint before that, in case `last` is damaged.
        config: the resolved config, which can be trained again.
        record: how the run started and ended, see `brs_detr.run.run_record`.
        lock: names the process that trains here, see `brs_detr.run.locks`.
        metrics: losses and metrics as CSV.
        scalars: the same as mmengine writes them.
        predictions: detections of the best weights on the validation split, as COCO results.
        data: annotation files made for this run, if the data set's own cannot be read as they are.
        report: the HTML page.
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
        """Whether there is a checkpoint to resume from. It may be damaged."""
        return self.last.exists() or self.previous.exists()


def checkpoint_file(path: str | Path) -> Path:
    """Return the file itself, or the best checkpoint of a run's folder.

    Raises:
        UserError: the folder has no checkpoint.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    for file in (RunFolder(path).best, RunFolder(path).last):
        if file.is_file():
            return file
    raise UserError(f"{path} is no folder of a training run: it has no checkpoints/best.pth.", "Give a checkpoint.")


def folder_of(checkpoint: Path) -> Path:
    """Return where files made from a checkpoint belong: the run's folder, or the checkpoint's own."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a `metrics.csv`, without one that a crash cut off. No file gives no rows."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and row["iteration"]]


def read_numbers(path: Path) -> list[dict[str, Any]]:
    """The same as numbers, without empty cells."""
    return [
        {name: int(text) if name in ("iteration", "epoch") else float(text) for name, text in row.items() if text}
        for row in read_rows(path)
    ]


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a `metrics.csv` whole. Values without a column are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())
