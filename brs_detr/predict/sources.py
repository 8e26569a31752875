"""Find the images and videos to detect objects in: files, folders, patterns, addresses, or a camera."""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brs_detr.errors import UserError
from brs_detr.predict.download import download
from brs_detr.runtime.images import SUFFIXES

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})

_CAMERA = re.compile(r"(?:webcam|camera)(?::(\d+))?|(\d+)")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A file or a camera.

    Args:
        name: its name in the results: a relative path with forward slashes.
        path: path of the file; None for a camera.
        is_video: whether it is a video or a camera.
        camera: number of the camera; None for a file.
    """

    name: str
    path: Path | None
    is_video: bool = False
    camera: int | None = None


def find_sources(texts: Sequence[str], recursive: bool, downloads: Path) -> list[Source]:
    """Find all sources, in order and without duplicates.

    Args:
        texts: paths of images, videos or folders, glob patterns, http(s) addresses, or `webcam`.
        recursive: include subfolders.
        downloads: folder for downloads.

    Raises:
        UserError: a path does not exist, nothing matches, or a download fails.
    """
    sources: list[Source] = []
    for number, text in enumerate(texts, start=1):  # a folder each, since two downloads may have the same name
        sources += _find(text, recursive, downloads / str(number))
    return _with_unique_names(sources)


def left_out(texts: Sequence[str], recursive: bool) -> list[str]:
    """List the files in folders and patterns that `find_sources` skips because of their suffix, except hidden ones."""
    found: list[Path] = []
    for text in texts:
        if Path(text).is_dir():
            found += [path for path in _files(Path(text), recursive) if path.suffix.lower() not in SUFFIXES]
        elif _is_pattern(text):
            found += [path for path in _matching(text) if path.suffix.lower() not in SUFFIXES | VIDEO_SUFFIXES]
    return [str(path) for path in found if not path.name.startswith(".")]


def _find(text: str, recursive: bool, downloads: Path) -> list[Source]:
    camera = _CAMERA.fullmatch(text)
    if camera and not Path(text).exists():
        number = int(camera[1] or camera[2] or 0)
        return [Source(f"webcam{number}", None, True, number)]
    if _ADDRESS.match(text):
        return [_file(download(text, downloads, SUFFIXES | VIDEO_SUFFIXES))]
    path = Path(text)
    if path.is_dir():
        return _folder(path, recursive)
    if _is_pattern(text):
        return _pattern(text)
    return [_file(path)]


def _file(path: Path) -> Source:
    is_video = path.suffix.lower() in VIDEO_SUFFIXES
    if not is_video and not path.exists():
        raise UserError(f"Cannot read {path}: there is no such file.", "Check the path.")
    return Source(path.name, path, is_video)


def _folder(folder: Path, recursive: bool) -> list[Source]:
    paths = [path for path in _files(folder, recursive) if path.suffix.lower() in SUFFIXES]
    if not paths:
        has_deeper = not recursive and any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*"))
        hint = "Add --recursive: its subfolders have some." if has_deeper else f"Known suffixes: {_known()}."
        raise UserError(f"There is no image in {folder}.", hint)
    return [Source(path.relative_to(folder).as_posix(), path) for path in paths]


def _pattern(pattern: str) -> list[Source]:
    known = [path for path in _matching(pattern) if path.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES]
    if not known:
        raise UserError(
            f"No image or video matches {pattern}, and there is no file of this name.",
            f"Known suffixes: {_known()}.",
        )
    return [_file(path) for path in known]


def _files(folder: Path, recursive: bool) -> list[Path]:
    return sorted(path for path in (folder.rglob("*") if recursive else folder.iterdir()) if path.is_file())


def _is_pattern(text: str) -> bool:
    """Whether a path contains a wildcard after its longest part that exists literally."""
    if _ADDRESS.match(text):
        return False
    parts = Path(text).parts
    num_literal = next((count for count in range(len(parts), 0, -1) if Path(*parts[:count]).exists()), 0)
    return any(wildcard in part for part in parts[num_literal:] for wildcard in "*?[")


def _matching(pattern: str) -> list[Path]:
    """Return the files that match a pattern. A part of it that exists literally matches only itself."""
    found = [Path(Path(pattern).anchor)]
    for part in Path(pattern).relative_to(found[0]).parts:
        found = [path for folder in found if folder.is_dir() for path in _matching_part(folder, part)]
    return sorted({path for path in found if path.is_file()})


def _matching_part(folder: Path, part: str) -> list[Path]:
    if part == "**":
        return [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    if (folder / part).exists():
        return [folder / part]
    return [path for path in folder.iterdir() if fnmatch.fnmatchcase(path.name, part)]


def _known() -> str:
    return ", ".join(sorted(SUFFIXES))


def _with_unique_names(sources: Sequence[Source]) -> list[Source]:
    """Remove duplicates. If two files share a name, name all files by their paths from their common folder."""
    unique: dict[object, Source] = {}
    for source in sources:
        unique.setdefault(_full_path(source) or source.name, source)
    names = Counter(source.name.lower() for source in unique.values())
    if max(names.values(), default=0) < 2:
        return list(unique.values())
    root = os.path.commonpath([path.parent for source in sources if (path := _full_path(source)) is not None])
    return [
        source if (path := _full_path(source)) is None else replace(source, name=path.relative_to(root).as_posix())
        for source in unique.values()
    ]


def _full_path(source: Source) -> Path | None:
    """Return the absolute path of a file. Links are not followed, since each has its own name."""
    return None if source.path is None else Path(os.path.normpath(source.path.absolute()))
