"""What every reader of a data set format gives: splits that are read when asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from brs_detr.data.findings import Finding

SPLITS = ("train", "val", "test", "all")
"""Names of splits in the order in which they are shown; `all` is a data set without splits."""

_STEM = re.compile(r"(?:instances_)?(train|training|valid|validation|val|test)(?:19\d\d|20\d\d)?", re.IGNORECASE)
_SPLIT_OF = {"training": "train", "valid": "val", "validation": "val"}


class SplitContent(NamedTuple):
    """What a reader found of one split.

    Args:
        dataset: COCO object with `images`, `annotations` and `categories`, as found: nothing is dropped or clipped. An
            entry read from another format than COCO has `source`, a text that says where it stands (file, line).
            It may be handed out again, so that it must not be changed.
        findings: what the reader could not put into a COCO object, or met on the way.
        files: that it was read from besides the images, and folders that a file names, with what a message calls them.
    """

    dataset: dict[str, Any]
    findings: tuple[Finding, ...] = ()
    files: Mapping[Path, str] = {}  # noqa: RUF012  (never changed)


@dataclass(frozen=True)
class SourceSplit:
    """One split of a data set.

    Args:
        name: `train`, `val` or `test`, or `all` where the data set is not split.
        file: what a message calls it: the annotation file, the list of the split, or its folder.
        image_dir: what the `file_name` of an image is relative to.
        read: reads it. Raises a UserError only where nothing at all can be read.
        is_coco: whether `file` is a COCO annotation file.
    """

    name: str
    file: Path
    image_dir: Path
    read: Callable[[], SplitContent]
    is_coco: bool = False


@dataclass(frozen=True)
class DataSource:
    """A data set.

    Args:
        folder: that it lies in.
        format: `COCO`, `Pascal VOC` or `YOLO`.
        splits: by name.
        names_file: that the class names are read from, where they do not stand in the files of the splits.
    """

    folder: Path
    format: str
    splits: dict[str, SourceSplit]
    names_file: Path | None = None


def split_name(word: str) -> str | None:
    """The split that a file or folder is named after, None when it is named after none.

    Args:
        word: a name without suffix, such as `train`, `Valid`, `val2017` or `instances_test`.
    """
    match = _STEM.fullmatch(word)
    if match is None:
        return None
    name = match[1].lower()
    return _SPLIT_OF.get(name, name)


def aliases_of(split: str) -> tuple[str, ...]:
    """Other words for a split: `valid` and `validation` for `val`."""
    return tuple(alias for alias, name in _SPLIT_OF.items() if name == split)


def split_of_path(path: Path) -> str | None:
    """The split that a relative path lies in: that of the first folder in it which is named after one."""
    return next((name for name in map(split_name, path.parts[:-1]) if name is not None), None)
