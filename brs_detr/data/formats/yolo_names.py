"""Find the class names of a YOLO data set beside its labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from brs_detr.data.bounds import MAX_CLASSES
from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_files import FolderFiles
from brs_detr.data.formats.source_names import class_name
from brs_detr.data.formats.yolo_labels import looks_like_labels
from brs_detr.data.text import read_text
from brs_detr.errors import UserError

NUMBERED_NAMES = FaultKind(
    "class names that are nowhere to be found",
    "Called class_0, class_1 and so on. Write the names into classes.txt, one a line, or into data.yaml.",
    "warning",
)

_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "names.txt")

_COMMENT = re.compile(r"\s*#.*\w")
_NUMBERED = re.compile(r"\s*(?P<number>\d{1,6})(?:\s*(?P<colon>:)\s*|\s+)(?P<name>\S.*)")


def is_names_file(path: Path) -> bool:
    """Whether a file is where YOLO tools write class names."""
    return path.name.lower() in _FILES or path.suffix.lower() == ".names"


def find_names_files(files: FolderFiles) -> list[Path]:
    """The files with class names, those nearest to the top of the folder first.

    The label file of an image that is called `names.jpg` or so is none.
    """
    images = {image.with_suffix("") for image in files.images}
    found = [path for path in files.paths if is_names_file(path)]
    found = [path for path in found if path.with_suffix("") not in images or not looks_like_labels(files.root / path)]
    paths = sorted(found, key=lambda path: (len(path.parts), path))
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
    """Class name by number: the number is the line, counted from 0, so that a blank line in between counts as well.

    Where each line begins with a number and a colon, or with the number that it has, the number is not in the name.

    Raises:
        UserError: the file cannot be read, has more lines than there can be classes, or begins with a comment.
    """
    text = read_text(file).rstrip()
    lines = text.split("\n") if text else []
    if len(lines) > MAX_CLASSES:
        raise too_many_classes(f"{file}, line {MAX_CLASSES + 1:,}", f"there are {len(lines):,} lines")
    if lines and _COMMENT.match(lines[0]):
        raise UserError(
            f"{file}, line 1: {lines[0].strip()!r} is a comment, but each line is the name of a class.",
            "Delete the line. If it is a name, write the names into data.yaml.",
        )
    return _numbered_lines(lines) or dict(enumerate(map(class_name, lines)))


def too_many_classes(where: str, what: str) -> UserError:
    """The refusal of more classes, or of higher numbers, than a data set can have."""
    return UserError(
        f"{where}: {what}; at most {MAX_CLASSES:,} classes are read, numbered from 0.",
        "Leave out classes that no box has, or give the path of the right file.",
    )


def _numbered_lines(lines: list[str]) -> dict[int, str]:
    """Names by the numbers that stand before them, empty where the lines are names as they are."""
    matches = list(filter(None, map(_NUMBERED.fullmatch, filter(str.strip, lines))))
    names = {int(match["number"]): class_name(match["name"]) for match in matches}
    is_numbered = len(names) == len(list(filter(str.strip, lines)))
    are_all_marked = all(match["colon"] for match in matches)
    return names if is_numbered and (are_all_marked or list(names) == list(range(len(lines)))) else {}


def numbered_names(numbers: Iterable[int], num_classes: int | None) -> dict[int, str]:
    """Names for classes that have none: `class_0` to the highest number that occurs or that is announced.

    Args:
        numbers: that occur, below `MAX_CLASSES`.
        num_classes: how many are announced, as many at most.
    """
    return {number: f"class_{number}" for number in range(max([*numbers, (num_classes or 0) - 1], default=-1) + 1)}
