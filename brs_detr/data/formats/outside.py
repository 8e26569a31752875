"""Find the files of a data set that lie outside of its folder, however it leads there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from brs_detr.data.findings import FaultKind, Finding
from brs_detr.data.formats.source_files import name_below
from brs_detr.data.formats.source_split import DataSource, SourceSplit, SplitContent
from brs_detr.errors import UserError

OUTSIDE_FILE = FaultKind(
    "file that lies outside of the data folder",
    "Look whether it is yours and meant. Training reads it where it is; convert and check --fix copy such files "
    "only with --allow-outside.",
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
    outside = dict(_outside(split, content, folder))
    if not outside:
        return content
    texts = [called if real in called else f"{called} is {real}" for called, real in outside.items()]
    findings = (_without_quotes(finding, outside.keys()) for finding in content.findings)
    return content._replace(findings=(*findings, Finding.of(OUTSIDE_FILE, texts)))


def _without_quotes(finding: Finding, outside: Collection[str]) -> Finding:
    """A finding without the words of a file that may be a secret of the user's, which a stranger has linked to."""
    shown = (
        replace(
            example, text=f"{where}: what stands there is not shown, since the file lies outside of the data folder"
        )
        if (where := example.text.partition(": ")[0]).partition(", line ")[0] in outside
        else example
        for example in finding.shown
    )
    return replace(finding, shown=tuple(shown))


def _outside(split: SourceSplit, content: SplitContent, folder: Path) -> Iterator[tuple[str, str]]:
    """What a message calls each file, and where it lies."""
    root = os.path.realpath(folder)
    folder_of = cache(os.path.realpath)
    for file, called in _files(split, content, folder):
        is_alone = file.name in ("", "..") or file.is_symlink()
        real = os.path.realpath(file) if is_alone else os.path.join(folder_of(file.parent), file.name)  # noqa: PTH118
        if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
            yield called, real


def _files(split: SourceSplit, content: SplitContent, folder: Path) -> Iterator[tuple[Path, str]]:
    """The files that a split is read from, and its images as far as they are there, with what a message calls them."""
    yield from content.files.items()
    is_list = split.file.is_file()
    for image in content.dataset["images"]:
        name = image.get("file_name") if isinstance(image, dict) else None
        if isinstance(name, str) and os.path.lexists(file := split.image_dir / name):
            if split.is_coco:
                yield file, f"{name} of {split.file.name}"
            else:
                yield file, name_below(file.absolute(), folder) + (f", named in {split.file.name}" if is_list else "")
