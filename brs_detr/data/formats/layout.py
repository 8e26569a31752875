"""What the readers of all formats share: files of a folder, splits, class names, and the COCO object they make."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from brs_detr.data import kinds
from brs_detr.data.findings import Fault, Finding, kind_of
from brs_detr.data.images import ImageSize, read_sizes
from brs_detr.data.text import MAX_LABEL_BYTES, NotUtf8, content_of, is_text
from brs_detr.errors import UserError, shortened
from brs_detr.printable import cut, printable
from brs_detr.runtime.images import SUFFIXES, UnreadableImage

SPLITS = ("train", "val", "test", "all")
"""Names of splits in the order in which they are shown; `all` is a dataset without splits."""

MAX_PATH = 4096
"""Longest path, in characters, that is looked up on disk."""

_STEM = re.compile(r"(?:instances_)?(train|training|valid|validation|val|test)(?:19\d\d|20\d\d)?", re.IGNORECASE)
_SPLIT_OF = {"training": "train", "valid": "val", "validation": "val"}
_MAX_VISITS = 8  # of one folder by links, which could double the number of files at every step
_OUTPUTS = {"run.json", "predictions.json"}  # written by this package into folders that hold no data

T = TypeVar("T")


class SplitContent(NamedTuple):
    """What a reader found of one split.

    Args:
        dataset: COCO object as found: nothing is dropped or clipped. Entries from other formats than COCO have a
            `source` that names file and line. It may be shared, so do not change it.
        findings: what does not fit into a COCO object.
        files: files that were read and folders that are named in them, each with its name in messages.
    """

    dataset: dict[str, Any]
    findings: tuple[Finding, ...] = ()
    files: Mapping[Path, str] = {}  # noqa: RUF012  (never changed)


@dataclass(frozen=True)
class SourceSplit:
    """One split of a dataset.

    Args:
        name: `train`, `val` or `test`, or `all` where the dataset is not split.
        file: its name in messages: the annotation file, the list of the split, or its folder.
        image_dir: what each `file_name` is relative to.
        read: reads it; raises a UserError only where nothing at all can be read.
        is_coco: whether `file` is a COCO annotation file.
    """

    name: str
    file: Path
    image_dir: Path
    read: Callable[[], SplitContent]
    is_coco: bool = False


@dataclass(frozen=True)
class DataSource:
    """A dataset.

    Args:
        folder: of the dataset.
        format: `COCO`, `Pascal VOC` or `YOLO`.
        splits: by name.
        names_file: file of the class names, where they are not in the files of the splits.
    """

    folder: Path
    format: str
    splits: dict[str, SourceSplit]
    names_file: Path | None = None


@dataclass(frozen=True)
class FoundSplit:
    """The files of a split, unread.

    Args:
        file: its name in messages: the list of the split, or its folder.
        paths: its images (YOLO) or annotation files (Pascal VOC).
        faults: what is wrong with the list.
    """

    file: Path
    paths: tuple[Path, ...]
    faults: tuple[Fault, ...] = ()


def split_name(word: str) -> str | None:
    """The split that a name without suffix stands for, such as `train`, `Valid`, `val2017` or `instances_test`."""
    match = _STEM.fullmatch(word)
    if match is None:
        return None
    name = match[1].lower()
    return _SPLIT_OF.get(name, name)


def aliases_of(split: str) -> tuple[str, ...]:
    """Other words for a split: `valid` and `validation` for `val`."""
    return tuple(alias for alias, name in _SPLIT_OF.items() if name == split)


def split_of_path(path: Path) -> str | None:
    """The split of a relative path: that of its first folder which is named after one."""
    return next((name for name in map(split_name, path.parts[:-1]) if name is not None), None)


def splits_by_folder(paths: Iterable[Path], file_of: Callable[[str, list[Path]], Path]) -> dict[str, FoundSplit]:
    """Divide relative paths by the folders they are in; the first split names those that are in none.

    Args:
        paths: to divide.
        file_of: gives `FoundSplit.file` for the name and the paths of a split.
    """
    by_split: dict[str, list[Path]] = {}
    for path in paths:
        by_split.setdefault(split_of_path(path) or "all", []).append(path)
    strays = by_split.pop("all") if len(by_split) > 1 and "all" in by_split else []
    faults = tuple((kinds.OUTSIDE_OF_SPLITS, path.as_posix()) for path in strays)
    names = [name for name in SPLITS if name in by_split]
    return {
        name: FoundSplit(file_of(name, by_split[name]), tuple(by_split[name]), faults if name == names[0] else ())
        for name in names
    }


@dataclass(frozen=True)
class FolderFiles:
    """The files below a folder.

    Args:
        root: the folder.
        paths: relative to it, sorted, without hidden files and folders.
    """

    root: Path
    paths: tuple[Path, ...]

    @cached_property
    def images(self) -> tuple[Path, ...]:
        """Paths of the images, recognized by their suffix."""
        return tuple(path for path in self.paths if is_image(path))

    def ending(self, *suffixes: str) -> tuple[Path, ...]:
        """Paths with one of the suffixes, which are given in lower case with a dot."""
        return tuple(path for path in self.paths if path.suffix.lower() in suffixes)


def list_files(root: Path) -> FolderFiles:
    """List the files below a folder, through links, in an order that does not depend on the disk.

    Folders that hold a training run or predictions are skipped.
    """
    return FolderFiles(root, tuple(sorted(_walk(root))))


def _walk(root: Path) -> Iterator[Path]:
    visits: Counter[Path] = Counter()
    for folder, below, names in os.walk(root, followlinks=True):
        relative = Path(folder).relative_to(root)
        if relative.parts and not _OUTPUTS.isdisjoint(names):
            below.clear()
            continue
        below[:] = [name for name in below if not _is_hidden(name) and not _leads_back(Path(folder, name))]
        visits.update(path.resolve() for name in below if (path := Path(folder, name)).is_symlink())
        if visits and max(visits.values()) > _MAX_VISITS:
            often = visits.most_common(1)[0][0]
            raise UserError(f"{root} leads to {often} by more than {_MAX_VISITS} links.", "Take the links out.")
        yield from (relative / name for name in names if not _is_hidden(name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one of its parents, also to one that was reached through a link."""
    if not folder.is_symlink():
        return False
    target = folder.resolve()
    return any(target in (parent, *parent.parents) for parent in map(Path.resolve, folder.parents))


class DiskNames:
    """Finds files whatever the case and the Unicode normal form of their names; lists each folder once."""

    def __init__(self) -> None:
        self._entries: dict[Path, dict[str, list[str]]] = {}
        self._folders: dict[Path, list[Path]] = {}

    def find(self, path: Path) -> list[Path]:
        """The file or folder as written, otherwise all whose paths differ only in case and normal form.

        Raises:
            UserError: a folder cannot be listed.
        """
        if os.path.exists(path):  # noqa: PTH110  (Path.exists raises an error at names that the disk does not allow)
            return [path]
        if path.parent not in self._folders:
            self._folders[path.parent] = [] if path.parent == path else self.find(path.parent)
        return [match for folder in self._folders[path.parent] for match in self.named(folder, path.name)]

    def named(self, folder: Path, name: str) -> list[Path]:
        """The entry of a folder with this name, otherwise all that differ only in case and normal form."""
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
    """A file name in lower case and Unicode normal form C."""
    return unicodedata.normalize("NFC", name).lower()


def indexed(paths: Iterable[Path], name: Callable[[Path], str]) -> dict[str, list[Path]]:
    """Paths by one of their names, folded."""
    index: dict[str, list[Path]] = {}
    for path in paths:
        index.setdefault(folded(name(path)), []).append(path)
    return index


def is_image(path: Path) -> bool:
    """Whether a file has the suffix of an image."""
    return path.suffix.lower() in SUFFIXES


def is_there(path: Path) -> bool:
    """Whether a file exists; false for names that the disk does not allow."""
    try:
        return path.is_file()
    except OSError:
        return False


def describe_folder(root: Path) -> str:
    """The content of a folder in one line: its entries, with the kinds of files in each folder."""
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    return shortened([_describe_entry(entry) for entry in entries]) or "nothing"


def _describe_entry(entry: Path) -> str:
    if not entry.is_dir():
        return entry.name
    suffixes = Counter(path.suffix or path.name for path in _walk(entry)).most_common(3)
    inside = ", ".join(f"{count} {suffix}" for suffix, count in suffixes)
    return f"{entry.name}/ ({inside or 'empty'})"


def common_folder(paths: Iterable[Path], otherwise: Path) -> Path:
    """The innermost folder that holds all files, or `otherwise` where there are none."""
    folders = {path.parent for path in paths}
    if len({folder.is_absolute() for folder in folders}) == 2:
        folders = {folder.absolute() for folder in folders}
    return Path(os.path.commonpath(folders)) if folders else otherwise


def name_below(path: Path, folder: Path) -> str:
    """A path with slashes, relative to a folder where it is below it, for a message or a `file_name`."""
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return path.as_posix()


def joined(paths: Iterable[Path], word: str = "or") -> str:
    """Paths with a word between them."""
    return f" {word} ".join(path.as_posix() for path in paths)


def read_label(file: Path, where: str, parse: Callable[[bytes, str], T]) -> T | Fault:
    """Read a file that describes one image; a fault in place of the result says why it cannot be read.

    Args:
        file: to read.
        where: its name in messages.
        parse: makes the result of the content and `where`; may raise a UserError.
    """
    try:
        return parse(content_of(file, MAX_LABEL_BYTES), where)
    except OSError as error:
        return kinds.BROKEN_LABEL_FILE, f"{where}: {error.strerror}"
    except UserError as error:
        kind = kinds.NOT_UTF8_FILE if isinstance(error, NotUtf8) else kinds.BROKEN_LABEL_FILE
        return kind, error.message.rstrip(".")


def class_name(text: str) -> str:
    """A class name in Unicode normal form C, without surrounding space."""
    return unicodedata.normalize("NFC", text).strip()


def name_faults(names: Iterable[str], where: str) -> Iterator[Fault]:
    """Find odd class names. Equal names are left to the check of categories.

    Args:
        names: all class names.
        where: their file, for the message.
    """
    spellings: dict[str, list[str]] = {}
    for number, name in enumerate(names, start=1):
        plain_name = unicodedata.normalize("NFKC", name).casefold().replace("_", " ").replace("-", " ")
        similar = spellings.setdefault(" ".join(plain_name.split()), [])
        if not name.strip():
            yield kinds.EMPTY_NAME, f"{where}, class {number} of the list"
        elif len(name) > kinds.MAX_NAME or not is_text(name):
            yield kinds.ODD_NAME, f"{where}, class {number} of the list: {cut(printable(name), 80)!r}"
        elif name not in similar:
            similar.append(name)
    for similar in spellings.values():
        if len(similar) > 1:
            yield kinds.SIMILAR_NAMES, f"{where}: {', '.join(map(repr, similar))}"


class SourceObject(NamedTuple):
    """An object: class number from 0, box (x, y, width, height) in pixels from 0, and where it is written."""

    number: int
    box_xywh: tuple[float, float, float, float]
    source: str
    is_crowd: bool = False


@dataclass(frozen=True)
class SourceImage:
    """An image and its objects.

    Args:
        path: of the file.
        source: where it is annotated.
        size: (h, w) as stated, None where the file tells it.
        objects: gives the objects for a size (h, w).
    """

    path: Path
    source: str
    size: ImageSize | None
    objects: Callable[[ImageSize], Iterable[SourceObject]]


def make_dataset(
    images: Iterable[SourceImage], names: Mapping[int, str], image_dir: Path
) -> tuple[dict[str, Any], list[Fault]]:
    """Make the COCO object of a split, images and annotations numbered from 1.

    Args:
        images: of the split.
        names: class name by number; a category id is one higher.
        image_dir: what `file_name` becomes relative to.

    Returns:
        The object, without images whose size can neither be read nor is stated, and a fault for each of those.
    """
    images = list(images)
    unstated = [image.path for image in images if image.size is None]
    sizes = dict(zip(unstated, read_sizes(unstated), strict=True))
    categories = [{"id": number + 1, "name": names[number]} for number in sorted(names)]
    dataset: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    faults: list[Fault] = []
    for image in images:
        size = image.size or sizes[image.path]
        if isinstance(size, UnreadableImage):
            faults.append((kind_of(size), size.message))
            continue
        name, number = Path(os.path.relpath(image.path, image_dir)).as_posix(), len(dataset["images"]) + 1
        dataset["images"].append(
            {"id": number, "file_name": name, "width": size[1], "height": size[0], "source": image.source}
        )
        for thing in image.objects(size):
            dataset["annotations"].append(_annotation(len(dataset["annotations"]) + 1, number, thing))
    return dataset, faults


def _annotation(annotation_id: int, image_id: int, thing: SourceObject) -> dict[str, Any]:
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": thing.number + 1,
        "bbox": [plain(number) for number in thing.box_xywh],
        "area": plain(max(thing.box_xywh[2], 0) * max(thing.box_xywh[3], 0)),
        "iscrowd": int(thing.is_crowd),
        "source": thing.source,
    }


def plain(number: float) -> float:
    """A whole number as an integer, so that it is written without a decimal point."""
    return int(number) if float(number).is_integer() else float(number)
