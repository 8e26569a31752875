"""Find the splits of a data set in COCO format, whichever tool laid out the folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brs_detr.data.annotations import read_class_names
from brs_detr.data.formats.coco_folder_images import find_image_dir
from brs_detr.data.formats.coco_folder_peek import looks_like_coco
from brs_detr.data.formats.source_files import describe_folder
from brs_detr.data.formats.source_split import SPLITS, aliases_of, split_name
from brs_detr.errors import UserError, shortened

_ROBOFLOW_FILE = "_annotations.coco.json"
_OTHER_TASKS = ("captions_", "person_keypoints_", "image_info_", "stuff_", "panoptic_")
_LAYOUTS = """Layouts that are understood (splits: train, val or valid, test):
  annotations/train.json + train/, val.json + val/ ...         written by this package
  annotations/instances_train2017.json + train2017/ ...        COCO (also images/train2017/ or images/)
  train/_annotations.coco.json beside its images, valid/ ...   Roboflow
  one annotation file of any name + images/                    CVAT, Label Studio and others"""


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
        The splits found by normalised name: `train`, `val`, `test`, in this order, or `all` alone.

    Raises:
        UserError: no such folder, no known layout in it, two annotation files for one split, or no image folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no data set folder {folder}.", "Check the path.")
    splits = splits_below(folder)
    if not splits:
        raise UserError(f"No data set in COCO format in {folder}, which holds {describe_folder(folder)}.", _LAYOUTS)
    return splits


def splits_below(folder: Path) -> dict[str, CocoSplit]:
    """The same for a folder that exists, without splits where nothing is in COCO format."""
    splits: dict[str, CocoSplit] = {}
    for name, file in [*_named_folders(folder), *_named_files(folder)] or _lone_file(folder):
        if name in splits:
            both = f"{splits[name].annotation_file} and {file}"
            raise UserError(f"Two annotation files for the split {name}: {both}.", "Keep one of them in the folder.")
        splits[name] = CocoSplit(name, file, _image_dir(folder, file, name))
    return {name: splits[name] for name in SPLITS if name in splits}


def files_left_out(folder: Path, splits: Mapping[str, CocoSplit]) -> list[Path]:
    """Annotation files that are named after no split, beside those of splits; files of other tasks are not meant."""
    files = [file for file in annotation_files(folder) if not _is_of_other_task(file) and split_name(file.stem) is None]
    taken = {split.annotation_file for split in splits.values()}
    return [] if "all" in splits else [file for file in _coco_files(files) if file not in taken]


def _is_of_other_task(file: Path) -> bool:
    return file.stem.lower().startswith(_OTHER_TASKS)


def split_of_file(file: Path) -> CocoSplit:
    """The split that one annotation file describes: the one it is named after, else `all`.

    Raises:
        UserError: there is no folder that its images could lie in.
    """
    folder = file.parent if file.parent.name else file.parent.absolute()
    name = split_name(file.stem) or split_name(folder.name) or "all"
    return CocoSplit(name, file, _image_dir(data_root(file), file, name))


def data_root(file: Path) -> Path:
    """The folder of the data set that an annotation file is one of."""
    folder = file.parent if file.parent.name else file.parent.absolute()
    return folder.parent if folder.name.lower() == "annotations" else folder


def annotation_files(folder: Path) -> list[Path]:
    """JSON files in the folder of a data set and in its `annotations`."""
    below = [path for path in folder.iterdir() if path.name.lower() == "annotations" and path.is_dir()]
    return [file for place in (*below, folder) for file in json_files(place)]


def json_files(folder: Path) -> list[Path]:
    """JSON files right in a folder."""
    return [path for path in folder.iterdir() if path.suffix.lower() == ".json"]


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
                f"Only one of {files} knows the classes: {shortened(sorted(odd), 50)}.",
                "List the same categories in the annotation file of every split.",
            )
    return names


def _named_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    """Annotation files in folders that are named after splits, as Roboflow lays them out."""
    for split_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        name = split_name(split_folder.name)
        if name is not None:
            roboflow = split_folder / _ROBOFLOW_FILE
            files = [roboflow] if roboflow.is_file() else _coco_files(json_files(split_folder))
            yield from ((name, file) for file in files)


def _named_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(annotation_files(folder)):
        name = split_name(file.stem)
        if name is not None:
            yield name, file


def _lone_file(folder: Path) -> list[tuple[str, Path]]:
    """The annotation file of a data set without splits, whatever its name."""
    files = _coco_files(annotation_files(folder))
    files = [
        file for file in files if file.stem.lower().startswith("instances_")
    ] or files  # CVAT: not person_keypoints_
    if len(files) > 1:
        listed = ", ".join(file.relative_to(folder).as_posix() for file in files)
        raise UserError(
            f"{folder} holds more than one annotation file, and none is named after a split: {listed}.",
            "Give the path of one file, or name them train.json, val.json and test.json.",
        )
    return [("all", file) for file in files]


def _coco_files(files: Iterator[Path] | Sequence[Path]) -> list[Path]:
    return [file for file in sorted(files) if looks_like_coco(file)]


def _image_dir(folder: Path, file: Path, name: str) -> Path:
    if split_name(file.parent.name) == name:  # a folder for each split
        return find_image_dir(file, file.parent, ("images", "data", "."), otherwise=file.parent)
    stem = re.sub("^instances_", "", file.stem, flags=re.IGNORECASE)
    words = dict.fromkeys([stem, name, *aliases_of(name)])
    places = [f"{parent}{word}" for parent in ("", "images/") for word in words]
    return find_image_dir(file, folder, (*places, "images", "data", "."))
