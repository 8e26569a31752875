"""Put images and objects of any format into a COCO object."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brs_detr.data.formats.source_names import make_categories
from brs_detr.data.formats.source_sizes import ImageSize


@dataclass(frozen=True)
class SourceObject:
    """An object: class number from 0, box (x, y, width, height) in pixels from 0, and where it stands."""

    number: int
    box_xywh: tuple[float, float, float, float]
    source: str
    is_crowd: bool = False


@dataclass(frozen=True)
class SourceImage:
    """An image: its file, its size (h, w), its objects, and where they stand."""

    path: Path
    size: ImageSize
    source: str
    objects: tuple[SourceObject, ...]


def make_dataset(images: Iterable[SourceImage], names: Mapping[int, str], image_dir: Path) -> dict[str, Any]:
    """Make the COCO object of a split.

    Args:
        images: numbered from 1 in this order, their objects from 1 throughout.
        names: class name by number; the category id is one higher.
        image_dir: what `file_name` becomes relative to.

    Returns:
        `images`, `annotations` and `categories`, as in `brs_detr.data.formats.source_split.SplitContent`.
    """
    dataset: dict[str, Any] = {"images": [], "annotations": [], "categories": make_categories(names)}
    for image_id, image in enumerate(images, start=1):
        height, width = image.size
        name = Path(os.path.relpath(image.path, image_dir)).as_posix()
        dataset["images"].append(
            {"id": image_id, "file_name": name, "width": width, "height": height, "source": image.source}
        )
        for thing in image.objects:
            dataset["annotations"].append(_annotation(len(dataset["annotations"]) + 1, image_id, thing))
    return dataset


def _annotation(annotation_id: int, image_id: int, thing: SourceObject) -> dict[str, Any]:
    box_xywh = [plain(number) for number in thing.box_xywh]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": thing.number + 1,
        "bbox": box_xywh,
        "area": plain(max(thing.box_xywh[2], 0) * max(thing.box_xywh[3], 0)),
        "iscrowd": int(thing.is_crowd),
        "source": thing.source,
    }


def plain(number: float) -> float:
    """Whole numbers as integers, so that they are written without a decimal point."""
    return int(number) if float(number).is_integer() else float(number)
