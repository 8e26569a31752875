"""Find the class names of a YOLO data set beside its labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_files import FolderFiles
from brs_detr.data.formats.source_names import class_name
from brs_detr.data.text import read_text
from brs_detr.errors import UserError

NUMBERED_NAMES = FaultKind(
    "class names that are nowhere to be found",
    "Called class_0, class_1 and so on. Write the names into classes.txt, one a line, or into data.yaml.",
    "warning",
)

_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "names.txt")


def is_names_file(path: Path) -> bool:
    """Whether a file is where YOLO tools write class names."""
    return path.name.lower() in _FILES or path.suffix.lower() == ".names"


def find_names_files(files: FolderFiles) -> list[Path]:
    """The files with class names, those nearest to the top of the folder first."""
    paths = sorted(filter(is_names_file, files.paths), key=lambda path: (len(path.parts), path))
    return [files.root / path for path in paths]


def read_names_files(files: Iterable[Path]) -> tuple[dict[int, str], Path | None]:
    """The class names on which several files agree, and the file that has most of them; none where there is no file.

    Raises:
        UserError: a file cannot be read, or two files call a class differently.
    """
    names: dict[int, str] = {}
    longest = None
    for file in files:
        read = read_names_file(file)
        if longest is not None:
            require_same_names(longest, names, file, read)
        if longest is None or len(read) > len(names):
            names, longest = read, file
    return names, longest


def require_same_names(file: Path, names: Mapping[int, str], other_file: Path, others: Mapping[int, str]) -> None:
    """Refuse two files that call one class differently. One of them may name fewer classes than the other.

    Raises:
        UserError: it names both files and the first class.
    """
    for number in sorted(names.keys() & others.keys()):
        if names[number] != others[number]:
            raise UserError(
                f"{file} calls class {number} {names[number]!r}, {other_file} calls it {others[number]!r}.",
                "Number the classes alike in both, delete the wrong file, or give the path of the right one.",
            )


def read_names_file(file: Path) -> dict[int, str]:
    """Class name by number: the number is the line, counted from 0, so that a blank line in between counts as well."""
    text = read_text(file).rstrip()
    return {number: class_name(line) for number, line in enumerate(text.split("\n"))} if text else {}


def numbered_names(numbers: Iterable[int], num_classes: int | None) -> dict[int, str]:
    """Names for classes that have none: `class_0` to the highest number that occurs or that is announced."""
    return {number: f"class_{number}" for number in range(max([*numbers, (num_classes or 0) - 1], default=-1) + 1)}
