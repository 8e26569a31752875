"""Find annotations, images and splits of a data set in Pascal VOC format, whichever tool laid out the folder."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_faults import MISSING_LABEL_FILE, OUTSIDE_OF_SPLITS, Fault
from brs_detr.data.formats.source_files import MAX_PATH, FolderFiles, folded
from brs_detr.data.formats.source_split import SPLITS, split_name, split_of_path
from brs_detr.data.text import MAX_LABEL_BYTES, content_of, read_text
from brs_detr.errors import UserError
from brs_detr.runtime.images import SUFFIXES

_NUM_PEEKED = 20
_HEAD = 4096  # bytes in which the root element must begin
_ROOT = re.compile(rb"<(?:\w+:)?annotation[\s>]", re.IGNORECASE)
_SUFFIXES = {".xml", *SUFFIXES}
_COLUMN = re.compile(r"\s+-?[01]$")  # in the list of one class: absent, difficult, present
_PAIR = re.compile(r"\.\w+\s+(\S.*\.xml)$", re.IGNORECASE)  # an image and its annotation file

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
        Its splits: those of `train.txt`, `val.txt` and `test.txt` in `ImageSets/Main`, `ImageSets` or the folder
        itself, or else in another folder of `ImageSets`; else those whose folders the files lie in, else
        `all`. None when it holds no VOC annotation.

    Raises:
        UserError: a list is not text in UTF-8, two for one split differ, or there are lists of classes alone.
    """
    annotations = files.ending(".xml")
    is_classic = {"jpegimages", "annotations"} <= {path.parts[0].lower() for path in files.paths}
    if not annotations or not (is_classic or any(_is_voc(files.root / path) for path in annotations[:_NUM_PEEKED])):
        return None
    listed = _listed_splits(files, annotations)
    return VocFolder(files, listed or _splits_by_folder(files, annotations), bool(listed))


def _is_voc(file: Path) -> bool:
    try:
        return _ROOT.search(content_of(file, MAX_LABEL_BYTES)[:_HEAD].replace(b"\0", b"")) is not None  # as of UTF-16
    except OSError:  # reading it says why
        return False


def _listed_splits(files: FolderFiles, annotations: Iterable[Path]) -> dict[str, VocSplit]:
    lists = _lists(files)
    if not lists:
        return {}
    known = _by_name(annotations)
    known = _by_path(files, annotations, known) | known
    splits: dict[str, VocSplit] = {}
    for name, path in lists:
        split = _read_list(files.root, path, known)
        first = splits.setdefault(name, split)
        if set(first.annotations) != set(split.annotations):
            raise UserError(f"Two lists for the split {name}: {first.file} and {split.file}.", "Keep one of them.")
    both = splits.pop("trainval", None)
    if both is not None and "train" not in splits:
        held_out = set(splits["val"].annotations) if "val" in splits else set()
        splits["train"] = replace(both, annotations=tuple(path for path in both.annotations if path not in held_out))
    return {
        name: splits[name] for name in SPLITS if name in splits and (splits[name].annotations or splits[name].faults)
    }


def _lists(files: FolderFiles) -> list[tuple[str, Path]]:
    """The lists, each with the split that it is of, or `trainval`; the most usual place first."""
    places = {("imagesets", "main"): 0, ("imagesets",): 1, (): 2}
    texts = [path for path in files.ending(".txt") if path.parts[0].lower() == "imagesets" or len(path.parts) == 1]
    ranked = [(places.get(tuple(part.lower() for part in path.parts[:-1]), 3), path) for path in texts]
    lists = [(rank, name, path) for rank, path in ranked if (name := _listed_name(path.stem)) is not None]
    usual = any(rank < 3 for rank, _, _ in lists)
    found = [(name, path) for rank, name, path in sorted(lists) if not usual or rank < 3]
    of_class = [path for path in texts if len(path.parts) > 1 and _listed_name(path.stem.rpartition("_")[2])]
    if of_class and not found:
        raise UserError(
            f"No list of a split, only lists of single classes: {files.root / of_class[0]}.",
            f"Write the names of all images of each split into {of_class[0].parent.as_posix()}/train.txt and val.txt, "
            "or delete the lists.",
        )
    return found


def _listed_name(stem: str) -> str | None:
    """The split that a list is of by its name, `train` or `train_list`, or `trainval`."""
    name = stem.lower().removesuffix("_list")
    return name if name in ("trainval", "all") else split_name(name)


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


def _by_path(files: FolderFiles, annotations: Iterable[Path], known: Mapping[str, list[Path]]) -> dict[str, list[Path]]:
    """Annotation files by their path and by that of their image, with the suffix and without, in any capitals."""
    paths = {path: [path] for path in annotations}
    for image in files.images:
        below = "/".join((*image.parts[1:-1], image.stem))
        paths[image] = next((known[key] for key in (below, folded(below), image.stem) if key in known), [])
    named: dict[str, list[Path]] = {}
    for path, found in paths.items():
        for name in (path.as_posix(), path.with_suffix("").as_posix()):
            named[name] = named[folded(name)] = found
    return {name: found for name, found in named.items() if found}


def _read_list(root: Path, path: Path, known: Mapping[str, list[Path]]) -> VocSplit:
    lines = dict.fromkeys(line.strip().strip('"') for line in read_text(root / path).split("\n"))
    paths: dict[Path, None] = {}
    faults: list[Fault] = []
    for line in filter(None, lines):
        name = _name_of(line, known) if len(line) <= MAX_PATH else line
        match known.get(name) or known.get(folded(name), []):
            case [annotation]:
                paths[annotation] = None
            case []:
                faults.append((MISSING_LABEL_FILE, f"{name}.xml, named in {path.as_posix()}"))
            case several:
                text = " or ".join(annotation.as_posix() for annotation in several)
                faults.append((UNCLEAR_LINE, f"{name}, named in {path.as_posix()}: {text}"))
    return VocSplit(root / path, tuple(paths), tuple(faults))


def _name_of(line: str, known: Container[str]) -> str:
    """The name that a line says, as one that is known where it can be.

    It is the line itself, or the line without the column behind it, without the suffix of a file, without the image
    before it, or without the first folders of a path that leads to a file of the data set.
    """
    name = _COLUMN.sub("", line).strip('"')
    pair = _PAIR.search(name)
    path = PurePath((pair[1] if pair else name).replace("\\", "/"))
    bare = path.with_suffix("").as_posix() if path.suffix.lower() in _SUFFIXES else path.as_posix()
    otherwise = path.stem if path.is_absolute() or path.suffix.lower() in SUFFIXES else bare
    whole = [line, name, path.as_posix(), bare]
    tails = ["/".join(path.parts[place:]) for place in range(1, len(path.parts))]
    inside = [tail for tail in tails if "/" in tail or PurePath(tail).suffix]
    return next((name for name in (*whole, *inside) if name in known or folded(name) in known), otherwise)


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
