"""Convert a Pascal VOC folder to the COCO-format folder that everything else reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brs_detr.data.annotations import write_annotations
from brs_detr.data.boxes import MAX_OVERHANG, clip_boxes, judge_boxes, xywh_from_xyxy
from brs_detr.data.findings import ZERO_AREA_BOX, Finding
from brs_detr.data.fresh_folder import fresh_folder
from brs_detr.data.images import read_size
from brs_detr.data.voc_file import VocImage, VocObject
from brs_detr.data.voc_folder import VocFolder, read_voc_folder
from brs_detr.errors import UserError


@dataclass(frozen=True)
class ConvertedSplit:
    """What was written of one split."""

    num_images: int
    num_boxes: int


@dataclass
class Conversion:
    """What a conversion wrote and what it left out.

    Args:
        class_names: in the order of their labels.
        origin: 1 where the source counts pixels from 1, 0 where it counts from 0.
        splits: counts by split name.
        dropped: one text per zero-area box, naming file and object.
    """

    class_names: list[str]
    origin: int
    splits: dict[str, ConvertedSplit] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Zero-area boxes, counted, when there were any."""
        return (Finding.of(ZERO_AREA_BOX, self.dropped),) if self.dropped else ()


def convert_voc(
    source: str | Path,
    folder: str | Path,
    link: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write the splits of a Pascal VOC folder as a COCO-format folder.

    Class names are sorted. A VOC box counts pixels from 1 and includes the last one, so it becomes
    [xmin - 1, ymin - 1, xmax, ymax]; where any box of the data set begins at 0, coordinates are kept as they are.
    Boxes with xmax <= xmin or ymax <= ymin are dropped and counted. Objects marked difficult become `iscrowd`: neither
    learnt nor counted, as in the VOC evaluation.

    Args:
        source: Pascal VOC folder with `ImageSets/Main/{train,val,test}.txt`.
        folder: where to; appears as a whole or not at all.
        link: hard-link the images instead of copying them (copied where the disk cannot).
        overwrite: replace a data set that is there already.
        progress: called as `progress(done, total)` after each image.

    Returns:
        Counts, class names and the dropped boxes.

    Raises:
        UserError: something in the source cannot be used (file and object are named), or the folder is not empty.
    """
    voc = read_voc_folder(source)
    _require_apart(Path(source).resolve(), Path(folder).resolve())
    conversion = Conversion(voc.class_names, voc.origin)
    total, done = sum(map(len, voc.splits.values())), 0
    with fresh_folder(folder, overwrite) as partial:
        for name, images in voc.splits.items():
            (partial / name).mkdir()
            dataset = _empty_dataset(voc.class_names)
            for image in images:
                path = _image_file(voc, image)
                _add_image(dataset, image, path, conversion)
                _place(path, partial / name / path.name, link)
                done += 1
                if progress is not None:
                    progress(done, total)
            write_annotations(partial / "annotations" / f"{name}.json", dataset)
            conversion.splits[name] = ConvertedSplit(len(dataset["images"]), len(dataset["annotations"]))
    return conversion


def _require_apart(source: Path, folder: Path) -> None:
    if source == folder or source in folder.parents or folder in source.parents:
        raise UserError(
            f"{folder} and the source {source} lie within each other.", "Choose a folder beside the source."
        )


def _empty_dataset(class_names: list[str]) -> dict[str, Any]:
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)]
    return {"categories": categories, "images": [], "annotations": []}


def _image_file(voc: VocFolder, image: VocImage) -> Path:
    path = voc.image_files.get(image.file.stem)
    if path is None:
        raise UserError(
            f"There is no image {image.file.stem}.* in JPEGImages for {image.file}.",
            "Put the image there, or take its name out of ImageSets/Main.",
        )
    return path


def _add_image(dataset: dict[str, Any], image: VocImage, path: Path, conversion: Conversion) -> None:
    height, width = size = read_size(path)
    if image.size not in (None, size):
        stated = f"{image.size[1]} x {image.size[0]}" if image.size else ""
        raise UserError(
            f"{path} is {width} x {height} pixels, but {image.file} says {stated}.",
            "Use the images that were annotated, unscaled.",
        )
    image_id = len(dataset["images"]) + 1
    dataset["images"].append({"id": image_id, "file_name": path.name, "width": width, "height": height})
    for number, thing in enumerate(image.objects, start=1):
        box_xywh = _box(thing, size, conversion.origin, f"{image.file}, object {number}")
        if box_xywh is None:
            conversion.dropped.append(f"{image.file.name}, object {number} ({thing.name})")
            continue
        dataset["annotations"].append(
            {
                "id": len(dataset["annotations"]) + 1,
                "image_id": image_id,
                "category_id": conversion.class_names.index(thing.name) + 1,
                "bbox": box_xywh,
                "area": box_xywh[2] * box_xywh[3],
                "iscrowd": int(thing.is_difficult),
            }
        )


def _box(thing: VocObject, size: tuple[int, int], origin: int, where: str) -> list[float] | None:
    """Box [x, y, width, height] counted from 0, or None for a box of zero area."""
    xmin, ymin, xmax, ymax = thing.corners
    if xmax <= xmin or ymax <= ymin:
        return None
    box_xyxy = np.array([[xmin - origin, ymin - origin, xmax, ymax]])
    verdict = judge_boxes(box_xyxy, size)
    if verdict.outside[0]:
        raise UserError(
            f"{where}: the box {thing.corners} lies outside of the image, which is {size[1]} x {size[0]}.",
            f"Mend the box; up to {MAX_OVERHANG:g} pixel over the edge is clipped.",
        )
    if verdict.empty[0]:
        return None
    return [_plain(number) for number in xywh_from_xyxy(clip_boxes(box_xyxy, size))[0].tolist()]


def _plain(number: float) -> float:
    """Whole numbers as integers, so that they are written without a decimal point."""
    return int(number) if number.is_integer() else number


def _place(source: Path, target: Path, link: bool) -> None:
    if link:
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another disk, or one without hard links
            pass
    shutil.copyfile(source, target)
