"""Read the YAML file and the files of class names that describe a YOLO dataset."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from brs_detr.data.formats.layout import (
    MAX_PATH,
    DiskNames,
    FolderFiles,
    class_name,
    folded,
    is_image,
    list_files,
    split_name,
)
from brs_detr.data.formats.yolo_labels import looks_like_labels
from brs_detr.data.kinds import MAX_CLASSES
from brs_detr.data.text import MAX_LABEL_BYTES, NotUtf8, content_of, read_text
from brs_detr.errors import UserError
from brs_detr.printable import cut, printable

_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_KNOWN_KEYS = (*_KEYS, "names", "nc", "path", "kpt_shape")
_MAX_POINTS = 10_000  # of an object; a mesh of a face has 478
_CURE = "It should say, for example: train: images/train, val: images/val, names: [cat, dog]."
_NAMES_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "names.txt")
_COMMENT = re.compile(r"\s*#.*\w")
_NUMBERED = re.compile(r"\s*(?P<number>\d{1,6})(?:\s*(?P<colon>:)\s*|\s+)(?P<name>\S.*)")


@dataclass(frozen=True)
class DataYaml:
    """The content of a `data.yaml`.

    Args:
        file: the file.
        root: its `path`, empty where it has none.
        splits: folders, lists or images by split name.
        names: class name by number; empty where it has none.
        num_classes: its `nc`.
        num_keypoint_columns: how many numbers of key points its `kpt_shape` puts behind a box, None without that.
    """

    file: Path
    root: str
    splits: dict[str, tuple[str, ...]]
    names: dict[int, str]
    num_classes: int | None
    num_keypoint_columns: int | None

    @property
    def folders(self) -> list[Path]:
        """What its paths may be relative to: `path`, relative to the file or to here, and the folder of the file."""
        folder = self.file.parent
        stated = [folder / self.root, Path(self.root)] if self.root else []
        return [path for path in (*stated, folder) if path.is_dir()]


def read_data_yaml(file: Path) -> DataYaml:
    """Read the YAML file of a YOLO dataset.

    Raises:
        UserError: it is not YAML (names line and column), or one of its fields cannot be used.
    """
    fields = _load(file)
    if not isinstance(fields, dict):
        raise UserError(f"{file} does not describe a dataset.", _CURE)
    splits: dict[str, tuple[str, ...]] = {}
    for key, value in fields.items():
        if key in _KEYS and (texts := _texts(file, key, value)) != splits.setdefault(_KEYS[key], texts):
            raise UserError(f"{file} names the split {_KEYS[key]} twice, with other images.", "Keep one of them.")
    return DataYaml(
        file,
        _text(fields.get("path")),
        {name: texts for name, texts in splits.items() if texts},
        _read_names(file, fields.get("names")),
        _num_classes(file, fields.get("nc")),
        _num_keypoint_columns(file, fields.get("kpt_shape")),
    )


def is_data_yaml(file: Path) -> bool:
    """Whether a YAML file names classes or splits; a broken one counts when it is called `data` or `dataset`."""
    try:
        fields = _load(file)
    except NotUtf8:
        return b"names" in content_of(file, MAX_LABEL_BYTES).replace(b"\0", b"")
    except UserError:
        return file.stem.lower() in ("data", "dataset")
    return isinstance(fields, dict) and ("names" in fields or ("nc" in fields and not _KEYS.keys().isdisjoint(fields)))


def find_images(stated: str, folders: Iterable[Path]) -> tuple[list[Path], list[str]] | None:
    """The images that an entry of a split names.

    Args:
        stated: folder of images, text file with one path a line, or an image.
        folders: what it may be relative to.

    Returns:
        Images, and the lines of the list that lead nowhere; None when the entry itself leads nowhere.
    """
    folders = list(folders)
    path = longest_end(stated, folders)
    if path is None:
        return None
    if path.is_dir():
        return [path / image for image in list_files(path).images], []
    if is_image(path):
        return [path], []
    return _listed_images(path, [path.parent, *folders])


def longest_end(stated: str, folders: Iterable[Path], names: DiskNames | None = None) -> Path | None:
    """The file or folder that a path names, even if its beginning belongs to another machine or folder.

    Roboflow writes `../train/images` for a folder beside the YAML file; other tools write absolute paths. So parts are
    removed from the front until the path exists, whatever its case and Unicode normal form. A last part on its own
    counts only when it names a split or a file.
    """
    names = names or DiskNames()
    if len(stated) > MAX_PATH:
        return None
    for path in _ends(stated, list(folders)):
        found = names.find(path)
        if len(found) == 1:
            return found[0]
    return None


def _ends(stated: str, folders: list[Path]) -> Iterator[Path]:
    parts = stated.replace("\\", "/").rstrip("/").split("/")
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    if not (split_name(parts[-1]) or Path(parts[-1]).suffix):
        ends = ends[:-1] or ends
    for end, folder in itertools.product(filter(None, ends), folders):
        yield Path(os.path.normpath(folder / end))


def _listed_images(file: Path, folders: list[Path]) -> tuple[list[Path], list[str]]:
    """The images of a list, and the lines that lead nowhere or, shortened, to one file with other lines.

    A line with only a name, with or without suffix, leads to the one image of that name below the folders.
    """
    names = DiskNames()
    lines = dict.fromkeys(filter(None, map(str.strip, read_text(file).split("\n"))))
    found = {line: longest_end(line, folders, names) for line in lines}
    found |= _named_alone([line for line, path in found.items() if path is None and "/" not in line], folders)
    claims = Counter(found.values())
    for line, path in found.items():
        if path is not None and claims[path] > 1 and path not in itertools.islice(_ends(line, folders), len(folders)):
            found[line] = None
    images = [path for path in found.values() if path is not None]
    return images, [f"{line}, named in {file.name}" for line, path in found.items() if path is None]


def _named_alone(lines: list[str], folders: list[Path]) -> dict[str, Path | None]:
    found: dict[str, Path | None] = {}
    for folder in dict.fromkeys(folders) if lines else ():
        images: dict[str, set[Path]] = {}
        for image in list_files(folder).images:
            for name in (image.name, image.stem):
                images.setdefault(folded(name), set()).add(folder / image)
        for line in lines:
            paths = images.get(folded(line), set())
            if paths:
                found.setdefault(line, paths.pop() if len(paths) == 1 else None)
    return found


def _load(file: Path) -> Any:
    """The content of a YAML file, keys that count in lower case.

    Every scalar stays text: `names: [no, 1]` are two names, not a truth value and a number.
    """
    try:
        fields = _parsed(read_text(file, MAX_LABEL_BYTES))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it cannot be read"
        raise UserError(f"{file} is not valid YAML: {reason}{where}.", "Mend the file.") from None
    except RecursionError:
        raise UserError(f"{file} is not valid YAML: it has lists in lists without end.", "Mend the file.") from None
    if not isinstance(fields, dict):
        return fields
    lowered: dict[str, Any] = {}
    for key, value in fields.items():
        lower = key.lower() if key.lower() in _KNOWN_KEYS else key
        if lower in lowered:
            raise UserError(f"{file} has the key '{lower}' twice, in capitals and not.", "Keep one of them.")
        lowered[lower] = value
    return lowered


@lru_cache(4)
def _parsed(text: str) -> Any:
    """Parse YAML. The result must not be changed: many names take seconds, and are asked for again."""
    return yaml.load(text, Loader=_OneOfAKey)  # as safe as SafeLoader


class _OneOfAKey(yaml.BaseLoader):
    """Refuses a repeated key, of which YAML readers take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        known: set[str] = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in known:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            known.add(str(key.value))
        return super().construct_mapping(node, deep)


def _texts(file: Path, key: str, value: Any) -> tuple[str, ...]:
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise UserError(f"'{key}' in {file} is neither a path nor a list of paths.", _CURE)
    return tuple(text for entry in entries if (text := _text(entry)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value.lower() not in ("~", "null", "none") else ""


def _read_names(file: Path, names: Any) -> dict[int, str]:
    if isinstance(names, dict | list) and len(names) > MAX_CLASSES:
        raise _too_many_classes(_line_of(file, "names"), f"names has {len(names):,} entries")
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if names is None or names == "":
        return {}
    if not isinstance(names, dict) or not all(_is_number(key) for key in names):
        raise UserError(f"'names' in {file} is neither a list nor numbers with names.", _CURE)
    for key in names:
        if _number(key) >= MAX_CLASSES:
            raise _too_many_classes(_line_of(file, key), f"names has a class {cut(printable(key), 20)}")
    if not all(isinstance(name, str) for name in names.values()):
        raise UserError(f"'names' in {file} holds something that is not a name.", _CURE)
    return {int(key): class_name(name) for key, name in names.items()}


def _num_classes(file: Path, count: Any) -> int | None:
    if not _is_number(count):
        return None
    if _number(count) > MAX_CLASSES:
        raise _too_many_classes(_line_of(file, "nc"), f"nc is {cut(printable(count), 20)}")
    return int(count)


def _line_of(file: Path, word: str) -> str:
    """A file with the first line that has a word in it, for a message."""
    before, found, _ = read_text(file).partition(word)
    return f"{file}, line {before.count(chr(10)) + 1}" if found else str(file)


def _num_keypoint_columns(file: Path, shape: Any) -> int | None:
    if shape is None:
        return None
    is_shape = isinstance(shape, list) and len(shape) == 2 and _is_number(shape[0]) and shape[1] in ("2", "3")
    if not is_shape or _number(shape[0]) > _MAX_POINTS:
        raise UserError(f"'kpt_shape' in {file} is not a count of key points and 2 or 3.", "Example: [17, 3].")
    return int(shape[0]) * int(shape[1])


def _is_number(key: Any) -> bool:
    return isinstance(key, str) and key.isdecimal()


def _number(digits: str) -> float:
    """The value of digits, infinite where there are too many for a count of anything."""
    return int(digits) if len(digits) <= 18 else math.inf


def is_names_file(path: Path) -> bool:
    """Whether a file has a name under which YOLO tools write class names."""
    return path.name.lower() in _NAMES_FILES or path.suffix.lower() == ".names"


def find_names_files(files: FolderFiles) -> list[Path]:
    """The files of class names, those nearest to the top of the folder first.

    The label file of an image that is called `names.jpg` or so is none.
    """
    images = {image.with_suffix("") for image in files.images}
    found = [path for path in files.paths if is_names_file(path)]
    found = [path for path in found if path.with_suffix("") not in images or not looks_like_labels(files.root / path)]
    return [files.root / path for path in sorted(found, key=lambda path: (len(path.parts), path))]


def read_names_files(files: Iterable[Path]) -> tuple[dict[int, str], Path | None]:
    """The class names on which several files agree, and the file with most of them; None without a file.

    Raises:
        UserError: a file cannot be read, or two files name a class differently.
    """
    names: dict[int, str] = {}
    longest = None
    for file in files:
        read = read_names_file(file)
        if longest is not None:
            require_same_numbers(longest, names, file, read)
        if longest is None or len(read) > len(names):
            names, longest = read, file
    return names, longest


def require_same_numbers(file: Path, names: Mapping[int, str], other_file: Path, others: Mapping[int, str]) -> None:
    """Refuse two files that name one class differently. One of them may name fewer classes than the other.

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
    """Class name by number: the index of the line, blank lines included.

    Where each line begins with a number and a colon, or with the number that it has, the number is not in the name.

    Raises:
        UserError: the file cannot be read, has more lines than there can be classes, or begins with a comment.
    """
    text = read_text(file).rstrip()
    lines = text.split("\n") if text else []
    if len(lines) > MAX_CLASSES:
        raise _too_many_classes(f"{file}, line {MAX_CLASSES + 1:,}", f"there are {len(lines):,} lines")
    if lines and _COMMENT.match(lines[0]):
        raise UserError(
            f"{file}, line 1: {lines[0].strip()!r} is a comment, but each line is the name of a class.",
            "Delete the line. If it is a name, write the names into data.yaml.",
        )
    return _numbered_lines(lines) or dict(enumerate(map(class_name, lines)))


def _numbered_lines(lines: list[str]) -> dict[int, str]:
    """Names by the numbers in front of them, empty where the lines are just names."""
    filled = list(filter(str.strip, lines))
    matches = list(filter(None, map(_NUMBERED.fullmatch, filled)))
    names = {int(match["number"]): class_name(match["name"]) for match in matches}
    are_all_marked = all(match["colon"] for match in matches)
    return names if len(names) == len(filled) and (are_all_marked or list(names) == list(range(len(lines)))) else {}


def _too_many_classes(where: str, what: str) -> UserError:
    return UserError(
        f"{where}: {what}; at most {MAX_CLASSES:,} classes are read, numbered from 0.",
        "Leave out classes that no box has, or give the path of the right file.",
    )


def numbered_names(numbers: Iterable[int], num_classes: int | None) -> dict[int, str]:
    """Make up names: `class_0` to the highest number that occurs or that is announced.

    Args:
        numbers: those that occur, below `MAX_CLASSES`.
        num_classes: how many are announced, at most `MAX_CLASSES`.
    """
    return {number: f"class_{number}" for number in range(max([*numbers, (num_classes or 0) - 1], default=-1) + 1)}
