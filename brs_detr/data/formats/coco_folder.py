"""Find and read datasets in COCO format, whichever tool laid out the folder."""

from __future__ import annotations

import filecmp
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from brs_detr.data import kinds
from brs_detr.data.annotations import SECTIONS, read_annotations, read_class_names
from brs_detr.data.findings import Fault, findings_of
from brs_detr.data.formats.layout import (
    MAX_PATH,
    SPLITS,
    DiskNames,
    SourceSplit,
    SplitContent,
    aliases_of,
    describe_folder,
    folded,
    indexed,
    is_image,
    is_there,
    list_files,
    name_faults,
    split_name,
)
from brs_detr.data.text import encoding_of
from brs_detr.errors import UserError, shortened

_ROBOFLOW_FILE = "_annotations.coco.json"
_OTHER_TASKS = ("captions_", "person_keypoints_", "image_info_", "stuff_", "panoptic_")
_LAYOUTS = """Layouts that are understood (splits: train, val or valid, test):
  annotations/train.json + train/, val.json + val/ ...         written by this package
  annotations/instances_train2017.json + train2017/ ...        COCO (also images/train2017/ or images/)
  train/_annotations.coco.json beside its images, valid/ ...   Roboflow
  one annotation file of any name + images/                    CVAT, Label Studio and others"""

_NUM_NAMES = 100  # image names of a file by which its folder is found
_CHUNK = 1 << 20  # characters
_OVERLAP = 1 << 12
_FILE_NAME = re.compile(r'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True)
class CocoSplit:
    """One split of a dataset: its annotation file and the folder its image names are relative to."""

    name: str
    annotation_file: Path
    image_dir: Path


def find_splits(folder: str | Path) -> dict[str, CocoSplit]:
    """Find annotation files and image folders of a dataset in COCO format.

    Args:
        folder: dataset folder in one of the layouts of `docs/data.md`.

    Returns:
        The splits by normalised name: `train`, `val`, `test`, in this order, or `all` alone.

    Raises:
        UserError: no such folder, no known layout in it, two annotation files for one split, or no image folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no dataset folder {folder}.", "Check the path.")
    splits = splits_below(folder)
    if not splits:
        raise UserError(f"No dataset in COCO format in {folder}, which holds {describe_folder(folder)}.", _LAYOUTS)
    return splits


def splits_below(folder: Path) -> dict[str, CocoSplit]:
    """Do the same for a folder that exists; empty where nothing is in COCO format."""
    splits: dict[str, CocoSplit] = {}
    for name, file in [*_named_folders(folder), *_named_files(folder)] or _lone_file(folder):
        if name in splits:
            both = f"{splits[name].annotation_file} and {file}"
            raise UserError(f"Two annotation files for the split {name}: {both}.", "Keep one of them in the folder.")
        splits[name] = CocoSplit(name, file, _image_dir(folder, file, name))
    return {name: splits[name] for name in SPLITS if name in splits}


def files_left_out(folder: Path, splits: Mapping[str, CocoSplit]) -> list[Path]:
    """Annotation files beside those of splits that are named after no split and not after another task."""
    files = [
        file
        for file in annotation_files(folder)
        if not file.stem.lower().startswith(_OTHER_TASKS) and split_name(file.stem) is None
    ]
    taken = {split.annotation_file for split in splits.values()}
    return [] if "all" in splits else [file for file in _coco_files(files) if file not in taken]


def split_of_file(file: Path) -> CocoSplit:
    """The split that one annotation file describes: the one it is named after, otherwise `all`.

    Raises:
        UserError: there is no folder for its images.
    """
    folder = file.parent if file.parent.name else file.parent.absolute()
    name = split_name(file.stem) or split_name(folder.name) or "all"
    return CocoSplit(name, file, _image_dir(data_root(file), file, name))


def data_root(file: Path) -> Path:
    """The dataset folder of an annotation file."""
    folder = file.parent if file.parent.name else file.parent.absolute()
    return folder.parent if folder.name.lower() == "annotations" else folder


def annotation_files(folder: Path) -> list[Path]:
    """JSON files in a dataset folder and in its `annotations`."""
    below = [path for path in folder.iterdir() if path.name.lower() == "annotations" and path.is_dir()]
    return [file for parent in (*below, folder) for file in _json_files(parent)]


def _json_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() == ".json"]


def shared_class_names(splits: Mapping[str, CocoSplit]) -> list[str]:
    """Class names that all splits agree on, in the order of the first split's category ids.

    Args:
        splits: at least one, from `find_splits`.

    Returns:
        One name per class; the index of a name is its label.

    Raises:
        UserError: a split has other names than the first one.
    """
    names = {split.annotation_file: read_class_names(split.annotation_file) for split in splits.values()}
    require_same_names({file: set(of_file) for file, of_file in names.items()})
    return next(iter(names.values()))


def require_same_names(class_names: Mapping[Path, set[str]]) -> None:
    """Refuse splits that do not have the same classes.

    Args:
        class_names: by the file of the split, at least one.

    Raises:
        UserError: a split has other names than the first one.
    """
    (first, names), *others = class_names.items()
    for file, other_names in others:
        odd = names ^ other_names
        if odd:
            raise UserError(
                f"Only one of {first} and {file} knows the classes: {shortened(sorted(odd), 50)}.",
                "List the same categories in the annotation file of every split.",
            )


def _named_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    for split_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        name = split_name(split_folder.name)
        if name is not None:
            roboflow = split_folder / _ROBOFLOW_FILE
            files = [roboflow] if roboflow.is_file() else _coco_files(_json_files(split_folder))
            yield from ((name, file) for file in files)


def _named_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(annotation_files(folder)):
        name = split_name(file.stem)
        if name is not None:
            yield name, file


def _lone_file(folder: Path) -> list[tuple[str, Path]]:
    files = _coco_files(annotation_files(folder))
    files = [file for file in files if file.stem.lower().startswith("instances_")] or files  # as CVAT names them
    if len(files) > 1:
        listed = ", ".join(file.relative_to(folder).as_posix() for file in files)
        raise UserError(
            f"{folder} holds more than one annotation file, and none is named after a split: {listed}.",
            "Give the path of one file, or name them train.json, val.json and test.json.",
        )
    return [("all", file) for file in files]


def _coco_files(files: Iterable[Path]) -> list[Path]:
    return [file for file in sorted(files) if looks_like_coco(file)]


def _image_dir(folder: Path, file: Path, name: str) -> Path:
    if split_name(file.parent.name) == name:  # a folder for each split
        return find_image_dir(file, file.parent, ("images", "data", "."), otherwise=file.parent)
    stem = re.sub("^instances_", "", file.stem, flags=re.IGNORECASE)
    words = dict.fromkeys([stem, name, *aliases_of(name)])
    candidates = [f"{parent}{word}" for parent in ("", "images/") for word in words]
    return find_image_dir(file, folder, (*candidates, "images", "data", "."))


def find_image_dir(file: Path, root: Path, candidates: Sequence[str], otherwise: Path | None = None) -> Path:
    """The folder that the image names of an annotation file are relative to.

    Args:
        file: annotation file.
        root: folder of the dataset.
        candidates: folders relative to `root`, the likeliest first.
        otherwise: what to return when none of them holds an image.

    Returns:
        The first candidate that holds an image under its stated name; otherwise the first that holds one of that name
        in a deeper folder, otherwise the first that exists.

    Raises:
        UserError: no candidate exists, or it is `root` and holds no image, or two hold different images of one name.
    """
    disk = DiskNames()
    folders = [folder for name in candidates for folder in disk.find(root / name) if folder.is_dir()]
    names = first_image_names(file, _NUM_NAMES)
    holding = [folder for folder in folders if any(is_there(folder / name) for name in names)]
    holding = holding or [folder for folder in folders if _holds_deeper(folder, names)]
    if holding:
        _require_one(file, names, holding)
        return holding[0]
    if folders and (folders[0] != root or any(is_image(path) for path in root.iterdir())):
        return folders[0]
    if otherwise is not None:
        return otherwise
    tried = ", ".join(name for name in candidates if name != ".")
    raise UserError(
        f"No image folder for {file}; looked in {root} for {tried}.",
        "Put the images there, or beside the annotation file.",
    )


def _require_one(file: Path, names: Sequence[str], folders: Sequence[Path]) -> None:
    for name, other in itertools.product(names, folders[1:]):
        paths = folders[0] / name, other / name
        if all(map(is_there, paths)) and not filecmp.cmp(*paths, shallow=False):
            raise UserError(
                f"{file} names the image {name}, and there are two different ones: {paths[0]} and {paths[1]}.",
                f"Move {folders[0]} or {other} away, whichever was not annotated.",
            )


def _holds_deeper(folder: Path, names: Sequence[str]) -> bool:
    index = _index_names(folder) if names else {}
    return any(_found(name, index, is_strict=False) for name in names)


def _index_names(folder: Path) -> dict[str, list[Path]]:
    return indexed(list_files(folder).images, lambda path: path.name)


def with_found_names(dataset: dict[str, Any], image_dir: Path) -> tuple[dict[str, Any], list[Fault]]:
    """Give every image the name under which it is found in its folder.

    Tools write paths of the machine they ran on, with backslashes, or with %20 for a space. An image that is not found
    under its stated name is looked for by the end of its path. What is not found, or claimed twice, keeps its name.

    Returns:
        The dataset, the same object where all images are found as stated, and what was renamed.
    """
    names = [name for entry in _objects(dataset["images"]) if isinstance(name := entry.get("file_name"), str)]
    lost = [name for name in names if not is_there(image_dir / name)]
    index = _index_names(image_dir) if lost else {}
    is_any_there = len(lost) < len(names)  # then a plain name is right, and its image missing
    found = {name: path.as_posix() for name in lost if (path := _found(name, index, is_any_there)) is not None}
    claims = Counter([found.get(name, name) for name in names])
    found = {name: path for name, path in found.items() if claims[path] == 1}
    if not found:
        return dataset, []

    def renamed(image: Any) -> Any:
        name = image.get("file_name") if isinstance(image, dict) else None
        return {**image, "file_name": found[name]} if isinstance(name, str) and name in found else image

    faults = [(kinds.MOVED_IMAGE, f"{name!r} is {path}") for name, path in found.items()]
    return {**dataset, "images": list(map(renamed, dataset["images"]))}, faults


def _found(stated: str, index: dict[str, list[Path]], is_strict: bool) -> Path | None:
    """The file of a stated path, otherwise of the path without surrounding space and with %20 decoded."""
    return closest_name(stated, index, is_strict) or closest_name(unquote(stated).strip(), index, is_strict)


def closest_name(stated: str, index: dict[str, list[Path]], is_strict: bool = False) -> Path | None:
    """The one file that shares the longest end of its path with a stated path, None where there is no single one.

    Case and Unicode normal form count only between files that are alike otherwise.

    Args:
        stated: path with slashes or backslashes.
        index: paths by their folded file name.
        is_strict: for a plain relative path, accept only a file whose path ends with all of it.
    """
    if len(stated) > MAX_PATH:
        return None
    parts = tuple(stated.replace("\\", "/").split("/"))
    loose = tuple(map(folded, parts))
    paths = index.get(loose[-1], [])
    is_foreign = stated.startswith("/") or "\\" in stated or ":" in stated or ".." in stated.split("/")

    def end(path: Path, length: int) -> tuple[str, ...]:
        return tuple(map(folded, path.parts[-length:]))

    if is_strict and not is_foreign:
        paths = [path for path in paths if end(path, len(parts)) == loose]
    for length in range(2, len(parts) + 1):
        paths = [path for path in paths if end(path, length) == loose[-length:]] or paths
    paths = [path for path in paths if path.name == parts[-1]] or paths
    return paths[0] if len(paths) == 1 else None


def looks_like_coco(file: Path) -> bool:
    """Whether a file, which may be large, has the keys of a COCO annotation file; it may still be broken."""
    missing = {f'"{section}"' for section in SECTIONS}
    for chunk in _chunks(file):
        missing = {key for key in missing if key not in chunk}
        if not missing:
            return True
    return False


def first_image_names(file: Path, limit: int = 5) -> list[str]:
    """The first `file_name`s of an annotation file, which is not parsed; empty where it has none or is broken."""
    for chunk in _chunks(file):
        found = _FILE_NAME.findall(chunk)
        if found:
            return list(_decoded(found[:limit]))
    return []


def _decoded(texts: list[str]) -> Iterator[str]:
    for text in texts:
        try:
            yield json.loads(text)
        except ValueError:  # broken escapes: reading the file says so
            continue


def _chunks(file: Path) -> Iterator[str]:
    """The file in pieces, each with the end of the one before."""
    if not is_there(file):
        return
    try:
        with file.open("rb") as stream:
            encoding = encoding_of(stream.read(2))
        with file.open(encoding=encoding, errors="replace") as stream:
            before = ""
            while piece := stream.read(_CHUNK):
                yield before + piece
                before = piece[-_OVERLAP:]
    except (OSError, UnicodeError):  # reading the file says what is wrong with it
        return


def coco_source(splits: dict[str, CocoSplit], left_out: Sequence[Path] = ()) -> dict[str, SourceSplit]:
    """Make splits readable.

    Args:
        splits: by name.
        left_out: annotation files of no split, which a finding of each split names.
    """
    files = [split.annotation_file for split in splits.values()]
    return {
        name: SourceSplit(
            name, split.annotation_file, split.image_dir, partial(_read_coco, split, files, left_out), is_coco=True
        )
        for name, split in splits.items()
    }


def _read_coco(split: CocoSplit, files: Sequence[Path], left_out: Sequence[Path]) -> SplitContent:
    """Read a split, with images renamed to where they are found and without categories that only group others."""
    dataset, moved = with_found_names(read_annotations(split.annotation_file), split.image_dir)
    dataset, groups = _without_groups(dataset, split.annotation_file, files)
    names = [name for category in _objects(dataset["categories"]) if isinstance(name := category.get("name"), str)]
    unread = [(kinds.UNREAD_FILE, str(file)) for file in left_out]
    faults = [*moved, *groups, *unread, *name_faults(names, split.annotation_file.name)]
    return SplitContent(dataset, findings_of(faults), {split.annotation_file: split.annotation_file.name})


def is_as_filed(content: SplitContent) -> bool:
    """Whether a COCO split was read without changes, so that the file itself can be used."""
    return not any(finding.kind in (kinds.MOVED_IMAGE, kinds.UNUSED_GROUP) for finding in content.findings)


def _without_groups(dataset: dict[str, Any], file: Path, files: Sequence[Path]) -> tuple[dict[str, Any], list[Fault]]:
    """Leave out categories that are the supercategory of another one and have no annotation in any split."""
    pairs = [(_text(entry, "name"), _text(entry, "supercategory")) for entry in _objects(dataset["categories"])]
    parents = {group for name, group in pairs if group not in (name, "", "none")}
    groups = parents & {name for name, _ in pairs} - _used_names(dataset)
    for other in files:
        if groups and other != file:
            groups -= _used_names(read_annotations(other))
    if not groups:
        return dataset, []
    kept = [
        entry for entry in dataset["categories"] if not isinstance(entry, dict) or _text(entry, "name") not in groups
    ]
    return {**dataset, "categories": kept}, [(kinds.UNUSED_GROUP, f"{file.name}: {name!r}") for name in sorted(groups)]


def _used_names(dataset: dict[str, Any]) -> set[str]:
    used = {_text(annotation, "category_id") for annotation in _objects(dataset["annotations"])}
    return {_text(entry, "name") for entry in _objects(dataset["categories"]) if _text(entry, "id") in used}


def _text(entry: dict[str, Any], key: str) -> str:
    """A field as text, since a malformed one may be anything; empty where there is none."""
    value = entry.get(key)
    return str(value) if isinstance(value, str | int) else ""


def _objects(entries: list[Any]) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)]
