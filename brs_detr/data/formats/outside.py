"""Find the files of a data set that lie outside of its folder, however it leads there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from brs_detr.data.findings import FaultKind, Finding
from brs_detr.data.formats.source_files import name_below
from brs_detr.data.formats.source_split import DataSource, SourceSplit, SplitContent
from brs_detr.errors import UserError

OUTSIDE_FILE = FaultKind(
    "file that lies outside of the data folder",
    "Look whether it is yours and meant: training reads it where it is. convert and check --fix copy it with "
    "--allow-outside alone.",
    "warning",
)


def with_outside_files(source: DataSource, folder: Path) -> DataSource:
    """A data set that tells, when it is read, which of its files lie outside of a folder.

    Paths lead there by `..`, from the root of the disk, or through a link, of the file itself or of a folder.

    Args:
        source: the data set.
        folder: that should hold all of it.
    """
    splits = {
        name: replace(split, read=partial(_read, split, folder.absolute())) for name, split in source.splits.items()
    }
    return replace(source, splits=splits)


def require_inside(folder: Path, findings: Iterable[Finding]) -> None:
    """Refuse to copy what lies outside of a data set.

    Args:
        folder: of the data set.
        findings: what was found in it.

    Raises:
        UserError: a file does.
    """
    for finding in findings:
        if finding.kind == OUTSIDE_FILE:
            raise UserError(
                f"{folder} has files that lie outside of it: {finding.amount} ({'; '.join(finding.examples)}).",
                "Look at these paths. If the files are yours and meant, add --allow-outside; else take the paths out.",
            )


def _read(split: SourceSplit, folder: Path) -> SplitContent:
    content = split.read()
    outside = list(_outside(split, content, folder))
    return content._replace(findings=(*content.findings, Finding.of(OUTSIDE_FILE, outside))) if outside else content


def _outside(split: SourceSplit, content: SplitContent, folder: Path) -> Iterator[str]:
    root = os.path.realpath(folder)
    folder_of = cache(os.path.realpath)
    for file, called in _files(split, content, folder):
        is_alone = file.name in ("", "..") or file.is_symlink()
        real = os.path.realpath(file) if is_alone else os.path.join(folder_of(file.parent), file.name)  # noqa: PTH118
        if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
            yield f"{called} is {real}"


def _files(split: SourceSplit, content: SplitContent, folder: Path) -> Iterator[tuple[Path, str]]:
    """The files that a split is read from, and its images as far as they are there, with what a message calls them."""
    yield from content.files.items()
    for image in content.dataset["images"]:
        name = image.get("file_name") if isinstance(image, dict) else None
        if isinstance(name, str) and os.path.lexists(file := split.image_dir / name):
            if split.is_coco:
                yield file, f"{name} of {split.file.name}"
            else:
                yield file, f"{name_below(file, folder)} of {image['source']}"
