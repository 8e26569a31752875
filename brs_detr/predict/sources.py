"""What the user wants to detect on: images, folders, patterns, videos, addresses or a camera."""

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
    """One file or camera.

    Args:
        name: what it is called in the results; relative, with forward slashes.
        path: of the file; None for a camera.
        is_video: has more than one frame.
        camera: number of the camera, or None.
    """

    name: str
    path: Path | None
    is_video: bool = False
    camera: int | None = None


def find_sources(texts: Sequence[str], recursive: bool, downloads: Path) -> list[Source]:
    """Everything that was asked for, in order.

    Args:
        texts: paths of images, videos or folders, glob patterns, http(s) addresses, or `webcam`.
        recursive: look into the folders of folders too.
        downloads: folder for what is fetched.

    Raises:
        UserError: a path does not exist, nothing fits, or an address cannot be fetched.
    """
    sources: list[Source] = []
    for number, text in enumerate(texts, start=1):  # of two addresses files may have one name
        sources += _find(text, recursive, downloads / str(number))
    return _with_names_of_their_own(sources)


def left_out(texts: Sequence[str], recursive: bool) -> list[str]:
    """Files of folders, and those that fit a pattern, that `find_sources` passes over for their suffix.

    Hidden files are not named.
    """
    found: list[Path] = []
    for text in texts:
        if Path(text).is_dir():
            found += [path for path in _files(Path(text), recursive) if path.suffix.lower() not in SUFFIXES]
        elif _is_pattern(text):
            found += [path for path in _fitting(text) if path.suffix.lower() not in SUFFIXES | VIDEO_SUFFIXES]
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
        cure = "Add --recursive: its folders hold some." if has_deeper else f"Known suffixes: {_known()}."
        raise UserError(f"There is no image in {folder}.", cure)
    return [Source(path.relative_to(folder).as_posix(), path) for path in paths]


def _pattern(pattern: str) -> list[Source]:
    known = [path for path in _fitting(pattern) if path.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES]
    if not known:
        raise UserError(
            f"Nothing that can be read fits {pattern}, and there is no file of this name.",
            f"Known suffixes: {_known()}.",
        )
    return [_file(path) for path in known]


def _files(folder: Path, recursive: bool) -> list[Path]:
    return sorted(path for path in (folder.rglob("*") if recursive else folder.iterdir()) if path.is_file())


def _is_pattern(text: str) -> bool:
    """Whether a path has a sign of a pattern behind the folders that are there under this very name."""
    if _ADDRESS.match(text):
        return False
    parts = Path(text).parts
    num_there = next((count for count in range(len(parts), 0, -1) if Path(*parts[:count]).exists()), 0)
    return any(sign in part for part in parts[num_there:] for sign in "*?[")


def _fitting(pattern: str) -> list[Path]:
    """Files that fit a pattern. A part of it that is there under this very name means that file or folder alone."""
    found = [Path(Path(pattern).anchor)]
    for part in Path(pattern).relative_to(found[0]).parts:
        found = [path for folder in found if folder.is_dir() for path in _fitting_part(folder, part)]
    return sorted({path for path in found if path.is_file()})


def _fitting_part(folder: Path, part: str) -> list[Path]:
    if part == "**":
        return [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    if (folder / part).exists():
        return [folder / part]
    return [path for path in folder.iterdir() if fnmatch.fnmatchcase(path.name, part)]


def _known() -> str:
    return ", ".join(sorted(SUFFIXES))


def _with_names_of_their_own(sources: Sequence[Source]) -> list[Source]:
    """Each file once. Where two have one name, call all files by their path from the folder they have in common."""
    unique: dict[object, Source] = {}
    for source in sources:
        unique.setdefault(_place(source) or source.name, source)
    names = Counter(source.name.lower() for source in unique.values())
    if max(names.values(), default=0) < 2:
        return list(unique.values())
    root = os.path.commonpath([place.parent for source in sources if (place := _place(source)) is not None])
    return [
        source if (place := _place(source)) is None else replace(source, name=place.relative_to(root).as_posix())
        for source in unique.values()
    ]


def _place(source: Source) -> Path | None:
    """The path that tells a file from all others; links are not followed, since each has a name of its own."""
    return None if source.path is None else Path(os.path.normpath(source.path.absolute()))
