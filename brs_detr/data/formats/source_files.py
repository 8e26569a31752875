"""All files of a data set folder, listed once for every reader that looks at them."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from brs_detr.errors import UserError, shortened
from brs_detr.runtime.images import SUFFIXES

MAX_PATH = 4096
"""Characters of a path that a disk may know."""

_MAX_NAMES = 8
_MAX_VISITS = 8  # of one folder by links, which could double the number of files at every step
_OUTPUTS = {"run.json", "predictions.json"}
"""Files that show that a folder was written by this package, so that its pictures are no data."""


@dataclass(frozen=True)
class FolderFiles:
    """The files below a folder.

    Args:
        root: the folder.
        paths: relative to it, sorted; hidden files and folders are left out.
    """

    root: Path
    paths: tuple[Path, ...]

    @cached_property
    def images(self) -> tuple[Path, ...]:
        """Paths of the images, told by their suffix."""
        return tuple(path for path in self.paths if is_image(path))

    def ending(self, *suffixes: str) -> tuple[Path, ...]:
        """Paths with one of the suffixes, which are given in lower case with a dot."""
        return tuple(path for path in self.paths if path.suffix.lower() in suffixes)


class DiskNames:
    """Finds files whatever the case and the Unicode normal form of their names; lists each folder once."""

    def __init__(self) -> None:
        self._entries: dict[Path, dict[str, list[str]]] = {}
        self._folders: dict[Path, list[Path]] = {}

    def find(self, path: Path) -> list[Path]:
        """The file or folder of a path: as it is written, else all whose names differ in nothing but that.

        Raises:
            UserError: a folder may not be listed.
        """
        if os.path.exists(path):  # noqa: PTH110  (Path.exists raises an error at names that the disk does not allow)
            return [path]
        if path.parent not in self._folders:
            self._folders[path.parent] = [] if path.parent == path else self.find(path.parent)
        return [match for folder in self._folders[path.parent] for match in self.named(folder, path.name)]

    def named(self, folder: Path, name: str) -> list[Path]:
        """The entry of a folder that is called so, else all whose names differ in nothing but case and normal form."""
        if folder not in self._entries:
            self._entries[folder] = {}
            for entry in _names_in(folder):
                self._entries[folder].setdefault(folded(entry), []).append(entry)
        names = self._entries[folder].get(folded(name), [])
        return [folder / entry for entry in ([name] if name in names else names)]


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise UserError(f"Cannot list the folder {folder}: {error.strerror}.", "Check its permissions.") from None


def folded(name: str) -> str:
    """What the spellings of a file name have in common that differ in case or Unicode normal form alone."""
    return unicodedata.normalize("NFC", name).lower()


def list_files(root: Path) -> FolderFiles:
    """List the files below a folder, through links, in an order that does not depend on the disk.

    Folders that hold a training run or predictions are passed over.
    """
    return FolderFiles(root, tuple(sorted(_walk(root))))


def is_image(path: Path) -> bool:
    """Whether a file has the suffix of an image."""
    return path.suffix.lower() in SUFFIXES


def is_there(path: Path) -> bool:
    """Whether there is such a file."""
    try:
        return path.is_file()
    except OSError:  # a name that the disk does not allow
        return False


def describe_folder(root: Path) -> str:
    """What a folder holds, in one line for a message: its entries, with the kinds of files in each folder."""
    entries = [_describe_entry(entry) for entry in sorted(root.iterdir()) if not entry.name.startswith(".")]
    if not entries:
        return "nothing"
    return shortened(entries, _MAX_NAMES)


def common_folder(paths: Iterable[Path], otherwise: Path) -> Path:
    """The innermost folder that holds all files, or `otherwise` where there are none."""
    folders = {path.parent for path in paths}
    if len({folder.is_absolute() for folder in folders}) == 2:
        folders = {folder.absolute() for folder in folders}
    return Path(os.path.commonpath(folders)) if folders else otherwise


def name_below(path: Path, folder: Path) -> str:
    """A path as it reads in a message or a `file_name`: relative to a folder where it lies below it, with slashes."""
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return path.as_posix()


def _describe_entry(entry: Path) -> str:
    if not entry.is_dir():
        return entry.name
    kinds = Counter(path.suffix or path.name for path in _walk(entry)).most_common(3)
    inside = ", ".join(f"{count} {suffix}" for suffix, count in kinds)
    return f"{entry.name}/ ({inside or 'empty'})"


def _walk(root: Path) -> Iterator[Path]:
    visits: Counter[Path] = Counter()
    for folder, below, names in os.walk(root, followlinks=True):
        place = Path(folder).relative_to(root)
        if place.parts and not _OUTPUTS.isdisjoint(names):
            below.clear()
            continue
        below[:] = [name for name in below if not _is_hidden(name) and not _leads_back(Path(folder, name))]
        visits.update(path.resolve() for name in below if (path := Path(folder, name)).is_symlink())
        if visits and max(visits.values()) > _MAX_VISITS:
            often = visits.most_common(1)[0][0]
            raise UserError(f"{root} leads to {often} by more than {_MAX_VISITS} links.", "Take the links out.")
        yield from (place / name for name in names if not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that it lies in, also where a link has led to that."""
    if not folder.is_symlink():
        return False
    target = folder.resolve()
    return any(target in (place, *place.parents) for place in map(Path.resolve, folder.parents))
