"""What is where in the folder of a training run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from brs_detr.errors import UserError


@dataclass(frozen=True)
class RunFolder:
    """Names of the files of a run; none of them need exist.

    Args:
        path: the folder.
    """

    path: Path

    @property
    def best(self) -> Path:
        """Weights, class names and config of the epoch with the best AP."""
        return self.path / "checkpoints" / "best.pth"

    @property
    def last(self) -> Path:
        """Everything that going on needs."""
        return self.path / "checkpoints" / "last.pth"

    @property
    def previous(self) -> Path:
        """The last one before that, in case that is damaged."""
        return self.path / "checkpoints" / "previous.pth"

    @property
    def can_resume(self) -> bool:
        """Whether there is something to go on from; it may be damaged."""
        return self.last.exists() or self.previous.exists()

    @property
    def config(self) -> Path:
        """The resolved config; it can be trained again."""
        return self.path / "config.py"

    @property
    def record(self) -> Path:
        """How the run was started and how it ended, see `brs_detr.run.run_record`."""
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        """Names the process that trains here; there is none when nobody does, see `brs_detr.run.run_lock`."""
        return self.path / ".lock"

    @property
    def metrics(self) -> Path:
        """Losses and metrics as a table."""
        return self.path / "metrics.csv"

    @property
    def scalars(self) -> Path:
        """The same as mmengine writes them."""
        return self.path / "vis_data" / "scalars.json"

    @property
    def predictions(self) -> Path:
        """What the best weights find on the validation split, as COCO results."""
        return self.path / "predictions.json"

    @property
    def data(self) -> Path:
        """Annotation files made for this run, where the data set has none that can be read as they are."""
        return self.path / "data"

    @property
    def report(self) -> Path:
        """The page that shows all of it."""
        return self.path / "report.html"


def checkpoint_file(path: str | Path) -> Path:
    """The checkpoint that a user means: the file itself, or the best one of a run's folder.

    Raises:
        UserError: a folder without a checkpoint.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    for file in (RunFolder(path).best, RunFolder(path).last):
        if file.is_file():
            return file
    raise UserError(f"{path} is no folder of a training run: it has no checkpoints/best.pth.", "Give a checkpoint.")


def folder_of(checkpoint: Path) -> Path:
    """Where what is made with a checkpoint belongs: its run's folder, or the folder that it lies in."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all; its folder is made when it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
