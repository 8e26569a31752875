"""Find the images that a COCO annotation file names, wherever the tool that wrote it has put them."""

from __future__ import annotations

import filecmp
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.coco_folder_peek import first_image_names
from brs_detr.data.formats.source_faults import Fault
from brs_detr.data.formats.source_files import MAX_PATH, DiskNames, folded, is_image, is_there, list_files
from brs_detr.errors import UserError

MOVED_IMAGE = FaultKind(
    "image that lies in another place than stated",
    "Found by the end of its path; nothing needs to be done.",
    "note",
)


_NUM_NAMES = 100
"""Image names of a file by which its folder is told."""


def find_image_dir(file: Path, root: Path, places: Sequence[str], otherwise: Path | None = None) -> Path:
    """The folder that the image names of an annotation file are relative to.

    Args:
        file: annotation file.
        root: folder of the data set.
        places: where to look, relative to `root`, the likeliest first.
        otherwise: what to take when none of them holds an image.

    Returns:
        The first place that holds an image under the name that the file states; where none does, the first that holds
        one of its name in a deeper folder, else the first that exists.

    Raises:
        UserError: none of the places exists, or it is `root` and holds no image, or two places hold different images of
            one name.
    """
    disk = DiskNames()
    folders = [folder for place in places for folder in disk.find(root / place) if folder.is_dir()]
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
    tried = ", ".join(place for place in places if place != ".")
    raise UserError(
        f"No image folder for {file}; looked in {root} for {tried}.",
        "Put the images there, or beside the annotation file.",
    )


def _require_one(file: Path, names: Sequence[str], folders: Sequence[Path]) -> None:
    """Refuse folders of which each has another image under one name."""
    for name, other in itertools.product(names, folders[1:]):
        paths = folders[0] / name, other / name
        if all(map(is_there, paths)) and not filecmp.cmp(*paths, shallow=False):
            raise UserError(
                f"{file} names the image {name}, and there are two different ones: {paths[0]} and {paths[1]}.",
                f"Move {folders[0]} or {other} away, whichever was not annotated.",
            )


def with_found_names(dataset: dict[str, Any], image_dir: Path) -> tuple[dict[str, Any], list[Fault]]:
    """Give every image the name under which it lies in its folder.

    Tools write paths of the machine they ran on, with backslashes, or with %20 for a space. An image that is not there
    under its stated name is looked for by the end of its path. What is not found, or claimed twice, keeps its name.

    Args:
        dataset: COCO object; it is not changed.
        image_dir: folder of the images.

    Returns:
        The data set, the same object where all images are where they should be, and what was renamed.
    """
    names = _names(dataset)
    lost = [name for name in names if not is_there(image_dir / name)]
    index = index_names(image_dir) if lost else {}
    is_any_there = len(lost) < len(names)  # then a plain name is right, and its image missing
    found = {name: path.as_posix() for name in lost if (path := _found(name, index, is_any_there)) is not None}
    claims = Counter([found.get(name, name) for name in names])
    found = {name: path for name, path in found.items() if claims[path] == 1}
    if not found:
        return dataset, []
    images = [_renamed(image, found) for image in dataset["images"]]
    return {**dataset, "images": images}, [(MOVED_IMAGE, f"{name!r} is {path}") for name, path in found.items()]


def index_names(folder: Path) -> dict[str, list[Path]]:
    """Relative paths of the images below a folder by their last part, whatever its case and Unicode normal form."""
    index: dict[str, list[Path]] = {}
    for path in list_files(folder).images:
        index.setdefault(folded(path.name), []).append(path)
    return index


def closest_name(stated: str, index: dict[str, list[Path]], is_strict: bool = False) -> Path | None:
    """The one file that shares the longest end of its path with a stated path, None where there is none or are several.

    Case and Unicode normal form count only between files that are alike otherwise.

    Args:
        stated: path with slashes or backslashes.
        index: from `index_names`.
        is_strict: for a plain relative path, take only a file whose path ends with all of it.
    """
    if len(stated) > MAX_PATH:
        return None
    parts = tuple(stated.replace("\\", "/").split("/"))
    loose = tuple(map(folded, parts))
    paths = index.get(loose[-1], [])
    if is_strict and not _is_foreign(stated):
        paths = [path for path in paths if _end(path, len(parts)) == loose]
    for length in range(2, len(parts) + 1):
        paths = [path for path in paths if _end(path, length) == loose[-length:]] or paths
    paths = [path for path in paths if path.name == parts[-1]] or paths
    return paths[0] if len(paths) == 1 else None


def _found(stated: str, index: dict[str, list[Path]], is_strict: bool) -> Path | None:
    """The file of a stated path, else of what it means where spaces are about it or signs in it are written as %20."""
    return closest_name(stated, index, is_strict) or closest_name(unquote(stated).strip(), index, is_strict)


def _end(path: Path, length: int) -> tuple[str, ...]:
    return tuple(map(folded, path.parts[-length:]))


def _is_foreign(stated: str) -> bool:
    """Whether a path can only be right on the machine it was written on."""
    return stated.startswith("/") or "\\" in stated or ":" in stated or ".." in stated.split("/")


def _holds_deeper(folder: Path, names: Sequence[str]) -> bool:
    index = index_names(folder) if names else {}
    return any(_found(name, index, is_strict=False) for name in names)


def _names(dataset: dict[str, Any]) -> list[str]:
    entries = [image for image in dataset["images"] if isinstance(image, dict)]
    return [name for entry in entries if isinstance(name := entry.get("file_name"), str)]


def _renamed(image: Any, found: dict[str, str]) -> Any:
    name = image.get("file_name") if isinstance(image, dict) else None
    return {**image, "file_name": found[name]} if isinstance(name, str) and name in found else image
