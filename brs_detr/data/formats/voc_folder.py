"""Find annotations, images and splits of a data set in Pascal VOC format, whichever tool laid out the folder."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_faults import MISSING_LABEL_FILE, OUTSIDE_OF_SPLITS, Fault
from brs_detr.data.formats.source_files import FolderFiles, folded
from brs_detr.data.formats.source_split import SPLITS, split_name, split_of_path
from brs_detr.data.text import read_text
from brs_detr.errors import UserError
from brs_detr.runtime.images import SUFFIXES

_NUM_PEEKED = 20
_HEAD = 4096  # bytes in which the root element must begin
_ROOT = re.compile(rb"<annotation[\s>]")
_SUFFIXES = {".xml", *SUFFIXES}
_COLUMN = re.compile(r"\s+-?[01]$")  # in the list of one class: absent, difficult, present

UNCLEAR_LINE = FaultKind(
    "name in the list of a split that several annotation files have", "Write the path below Annotations, as a/1."
)


@dataclass(frozen=True)
class VocSplit:
    """Annotation files of one split.

    Args:
        file: the list of the split, else its folder.
        annotations: paths of its annotation files, relative to the folder of the data set.
        faults: what is wrong with the list.
    """

    file: Path
    annotations: tuple[Path, ...]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class VocFolder:
    """A folder in Pascal VOC format: where everything is, nothing of it read."""

    files: FolderFiles
    splits: dict[str, VocSplit]
    is_listed: bool


def find_voc(files: FolderFiles) -> VocFolder | None:
    """Recognise a data set in Pascal VOC format.

    Args:
        files: the folder.

    Returns:
        Its splits: those of `ImageSets/Main/{train,val,test}.txt`, else those whose folders the files lie in, else
        `all`. None when it holds no VOC annotation.

    Raises:
        UserError: a list is not text in UTF-8, or there are two for one split.
    """
    annotations = files.ending(".xml")
    is_classic = {"jpegimages", "annotations"} <= {path.parts[0].lower() for path in files.paths}
    if not annotations or not (is_classic or any(_is_voc(files.root / path) for path in annotations[:_NUM_PEEKED])):
        return None
    listed = _listed_splits(files, annotations)
    return VocFolder(files, listed or _splits_by_folder(files, annotations), bool(listed))


def _is_voc(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return _ROOT.search(stream.read(_HEAD).replace(b"\0", b"")) is not None  # as of UTF-16
    except OSError:  # reading it says why
        return False


def _listed_splits(files: FolderFiles, annotations: Iterable[Path]) -> dict[str, VocSplit]:
    known = _by_name(annotations)
    splits = {name: _read_list(file, known) for name, file in _lists(files).items()}
    both = splits.pop("trainval", None)
    if both is not None and "train" not in splits:
        held_out = set(splits["val"].annotations) if "val" in splits else set()
        splits["train"] = replace(both, annotations=tuple(path for path in both.annotations if path not in held_out))
    return {
        name: splits[name] for name in SPLITS if name in splits and (splits[name].annotations or splits[name].faults)
    }


def _lists(files: FolderFiles) -> dict[str, Path]:
    """The lists in `ImageSets/Main` by the split that they are of, or `trainval`."""
    lists: dict[str, Path] = {}
    for path in files.ending(".txt"):
        name = path.stem.lower() if path.stem.lower() in ("trainval", "all") else split_name(path.stem)
        if name is not None and [part.lower() for part in path.parts[:-1]] == ["imagesets", "main"]:
            if name in lists:
                raise UserError(f"Two lists for the split {name}: {lists[name]} and {path}.", "Keep one of them.")
            lists[name] = files.root / path
    return lists


def _by_name(annotations: Iterable[Path]) -> dict[str, list[Path]]:
    """Annotation files by their stem, by their path below `Annotations`, and by both in other capitals."""
    known: dict[str, list[Path]] = {}
    for path in annotations:
        known.setdefault(path.stem, []).append(path)
    known |= {"/".join((*path.parts[1:-1], path.stem)): [path] for path in annotations}
    loose: dict[str, list[Path]] = {}
    for name, paths in known.items():
        loose.setdefault(folded(name), []).extend(paths)
    return loose | known


def _read_list(file: Path, known: dict[str, list[Path]]) -> VocSplit:
    lines = dict.fromkeys(line.strip().strip('"') for line in read_text(file).split("\n"))
    paths: dict[Path, None] = {}
    faults: list[Fault] = []
    for line in filter(None, lines):
        name = _name_of(line, known)
        match known.get(name) or known.get(folded(name), []):
            case [path]:
                paths[path] = None
            case []:
                faults.append((MISSING_LABEL_FILE, f"{name}.xml, named in ImageSets/Main/{file.name}"))
            case several:
                text = " or ".join(path.as_posix() for path in several)
                faults.append((UNCLEAR_LINE, f"{name}, named in ImageSets/Main/{file.name}: {text}"))
    return VocSplit(file, tuple(paths), tuple(faults))


def _name_of(line: str, known: Container[str]) -> str:
    """The name that a line says: the line itself, or the line without the column or the suffix of a file behind it."""
    name = _COLUMN.sub("", line).strip('"')
    bare = name[: -len(PurePath(name).suffix)] if PurePath(name).suffix.lower() in _SUFFIXES else name
    return next((name for name in (line, name) if name in known or folded(name) in known), bare)


def _splits_by_folder(files: FolderFiles, annotations: Iterable[Path]) -> dict[str, VocSplit]:
    by_split: dict[str, list[Path]] = {}
    for path in annotations:
        by_split.setdefault(split_of_path(path) or "all", []).append(path)
    strays = by_split.pop("all") if len(by_split) > 1 and "all" in by_split else []
    faults = tuple((OUTSIDE_OF_SPLITS, path.as_posix()) for path in strays)
    names = [name for name in SPLITS if name in by_split]
    return {
        name: VocSplit(
            _folder_of(files.root, by_split[name], name), tuple(by_split[name]), faults if name == names[0] else ()
        )
        for name in names
    }


def _folder_of(root: Path, annotations: list[Path], name: str) -> Path:
    """What to call the folder of a split: down to the part that is named after it."""
    if name == "all":
        return root
    parts = annotations[0].parts
    depth = next(place for place, part in enumerate(parts, start=1) if split_name(part) == name)
    return root.joinpath(*parts[:depth])
