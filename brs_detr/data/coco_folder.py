"""Find the splits of a data set in COCO format, whichever tool laid out the folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from brs_detr.data.annotations import read_class_names
from brs_detr.errors import UserError

_STEM = re.compile(r"(?:instances_)?(train|training|valid|validation|val|test)(?:19\d\d|20\d\d)?", re.IGNORECASE)
_SPLIT_OF = {"training": "train", "valid": "val", "validation": "val"}
_ROBOFLOW_FILE = "_annotations.coco.json"
_LAYOUTS = """Layouts that are understood (splits: train, val or valid, test):
  annotations/train.json + train/, val.json + val/ ...         written by this package
  annotations/instances_train2017.json + train2017/ ...        COCO (also images/train2017/ or images/)
  train/_annotations.coco.json beside its images, valid/ ...   Roboflow"""


@dataclass(frozen=True)
class CocoSplit:
    """One split of a data set: its annotation file and the folder its image names are relative to."""

    name: str
    annotation_file: Path
    image_dir: Path


def find_splits(folder: str | Path) -> dict[str, CocoSplit]:
    """Find annotation files and image folders of a data set in COCO format.

    Args:
        folder: data set folder in one of the layouts of `docs/data.md`.

    Returns:
        The splits found by normalised name: `train`, `val`, `test`, in this order.

    Raises:
        UserError: no such folder, no known layout in it, two annotation files for one split, or no image folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no data set folder {folder}.", "Check the path.")
    splits: dict[str, CocoSplit] = {}
    for split in [*_roboflow_splits(folder), *_coco_splits(folder)]:
        if split.name in splits:
            both = f"{splits[split.name].annotation_file} and {split.annotation_file}"
            raise UserError(
                f"Two annotation files for the split {split.name}: {both}.", "Keep one of them in the folder."
            )
        splits[split.name] = split
    if not splits:
        raise UserError(f"No data set in COCO format in {folder}, which holds {_listing(folder)}.", _LAYOUTS)
    return {name: splits[name] for name in ("train", "val", "test") if name in splits}


def shared_class_names(splits: Mapping[str, CocoSplit]) -> list[str]:
    """Class names that all splits agree on, in the order of the first split's category ids.

    Args:
        splits: what `find_splits` found, or a part of it; at least one.

    Returns:
        One name per class; the place in the list is the label.

    Raises:
        UserError: a split has other names than the first one.
    """
    first, *others = splits.values()
    names = read_class_names(first.annotation_file)
    for other in others:
        odd = set(names) ^ set(read_class_names(other.annotation_file))
        if odd:
            files = f"{first.annotation_file} and {other.annotation_file}"
            raise UserError(
                f"Only one of {files} knows the classes: {', '.join(sorted(odd))}.",
                "List the same categories in the annotation file of every split.",
            )
    return names


def _split_name(stem: str) -> str | None:
    match = _STEM.fullmatch(stem)
    if match is None:
        return None
    name = match[1].lower()
    return _SPLIT_OF.get(name, name)


def _roboflow_splits(folder: Path) -> Iterator[CocoSplit]:
    for file in sorted(folder.glob(f"*/{_ROBOFLOW_FILE}")):
        name = _split_name(file.parent.name)
        if name is not None:
            yield CocoSplit(name, file, file.parent)


def _coco_splits(folder: Path) -> Iterator[CocoSplit]:
    for file in sorted([*folder.glob("annotations/*.json"), *folder.glob("*.json")]):
        name = _split_name(file.stem)
        if name is not None:
            yield CocoSplit(name, file, _image_dir(folder, file, name))


def _image_dir(folder: Path, file: Path, name: str) -> Path:
    stem = re.sub("^instances_", "", file.stem, flags=re.IGNORECASE)
    aliases = dict.fromkeys([stem, name, *(alias for alias, split in _SPLIT_OF.items() if split == name)])
    candidates = [parent / alias for parent in (folder, folder / "images") for alias in aliases]
    candidates.append(folder / "images")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    tried = ", ".join(str(candidate.relative_to(folder)) for candidate in candidates)
    raise UserError(f"No image folder for {file}; looked in {folder} for {tried}.", _LAYOUTS)


def _listing(folder: Path, limit: int = 8) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    if not names:
        return "nothing"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
