"""Find the class names of a YOLO data set beside its labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_files import FolderFiles

NUMBERED_NAMES = FaultKind(
    "class names that are nowhere to be found",
    "Called class_0, class_1 and so on. Write the names into classes.txt, one a line, or into data.yaml.",
    "warning",
)

_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "names.txt")


def is_names_file(path: Path) -> bool:
    """Whether a file is where YOLO tools write class names."""
    return path.name.lower() in _FILES or path.suffix.lower() == ".names"


def find_names_file(files: FolderFiles) -> Path | None:
    """The file with the class names: of several the one nearest to the top of the folder."""
    paths = sorted(filter(is_names_file, files.paths), key=lambda path: (len(path.parts), path))
    return files.root / paths[0] if paths else None


def read_names_file(file: Path) -> dict[int, str]:
    """Class name by number: the number is the line, counted from 0, so that a blank line in between counts as well."""
    lines = file.read_text(encoding="utf-8-sig", errors="replace").rstrip().splitlines()
    return {number: line.strip() for number, line in enumerate(lines)}


def numbered_names(numbers: Iterable[int], num_classes: int | None) -> dict[int, str]:
    """Names for classes that have none: `class_0` to the highest number that occurs or that is announced."""
    return {number: f"class_{number}" for number in range(max([*numbers, (num_classes or 0) - 1], default=-1) + 1)}
