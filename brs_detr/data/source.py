"""A data set as it lies on disk, whatever its format: what every reader gives, and the choice of the reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from brs_detr.data.annotations import read_annotations
from brs_detr.data.coco_folder import CocoSplit, find_splits
from brs_detr.data.findings import Finding


class SplitContent(NamedTuple):
    """What a reader found of one split.

    Args:
        dataset: COCO object with `images`, `annotations` and `categories`, as found: nothing is dropped or clipped. An
            entry read from another format than COCO has `source`, a text that says where it stands (file, line).
        findings: what the reader could not put into a COCO object, or met on the way.
    """

    dataset: dict[str, Any]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class SourceSplit:
    """One split of a data set.

    Args:
        name: `train`, `val` or `test`, or `all` where the data set is not split.
        file: what a message calls it: the annotation file, the list of the split, or its folder.
        image_dir: what the `file_name` of an image is relative to.
        read: reads it. Raises a UserError only where nothing at all can be read.
        is_coco: whether `file` is a COCO annotation file that can be used as it is.
    """

    name: str
    file: Path
    image_dir: Path
    read: Callable[[], SplitContent]
    is_coco: bool = False


@dataclass(frozen=True)
class DataSource:
    """A data set: its folder, its format (`COCO`, `Pascal VOC`, `YOLO`) and its splits by name."""

    folder: Path
    format: str
    splits: dict[str, SourceSplit]


def open_source(folder: str | Path) -> DataSource:
    """Find out what a folder holds.

    Args:
        folder: data set in any of the layouts of `docs/data.md`.

    Raises:
        UserError: no such folder, or none of the formats is recognised in it; the message shows what each looks like.
    """
    splits = find_splits(folder)
    return DataSource(Path(folder), "COCO", {name: _coco(split) for name, split in splits.items()})


def _coco(split: CocoSplit) -> SourceSplit:
    def read() -> SplitContent:
        return SplitContent(read_annotations(split.annotation_file))

    return SourceSplit(split.name, split.annotation_file, split.image_dir, read, is_coco=True)
