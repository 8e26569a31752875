"""Which label file of a YOLO data set belongs to which image."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from brs_detr.data.formats.source_files import is_image
from brs_detr.data.formats.source_split import split_name
from brs_detr.data.formats.yolo_names import is_names_file

IMAGE_FOLDERS = ("images", "jpegimages")
"""Names, in lower case, of folders beside which `labels` is expected."""


def label_places(image: Path) -> Iterator[Path]:
    """Where the label file of an image may be, the likeliest place first."""
    name = f"{image.stem}.txt"
    folder = image.parent
    for place in reversed(range(len(folder.parts))):
        if folder.parts[place].lower() in IMAGE_FOLDERS:
            yield Path(*folder.parts[:place], "labels", *folder.parts[place + 1 :], name)
            break
    yield folder / name
    yield folder / "labels" / name
    yield folder.parent / "labels" / folder.name / name
    yield folder.parent / "labels" / name


def label_of(image: Path) -> Path | None:
    """The label file of an image, None when it has none and so no object."""
    return next((place for place in label_places(image) if place.is_file()), None)


def lone_labels(labels: Iterable[Path], images: Iterable[Path]) -> list[Path]:
    """Label files without an image, in the folders that hold labels of a data set.

    Args:
        labels: label files of the data set.
        images: its images.
    """
    images = list(images)
    stems = {path.stem for folder in {image.parent for image in images} for path in folder.iterdir() if is_image(path)}
    likeliest = {next(label_places(image)).parent for image in images}
    folders = likeliest | {label.parent for label in labels}
    files = itertools.chain(*(folder.glob("*.txt") for folder in folders))
    return sorted(file for file in files if file.stem not in stems and not is_other_text(file))


def is_other_text(path: Path) -> bool:
    """Whether a text file is known to hold something else than labels: names, a list of images, words."""
    return is_names_file(path) or path.name.lower().startswith("readme") or split_name(path.stem) is not None
