"""Sample images of every class and of boxes with a fault."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brs_detr.data.boxes import xyxy_from_xywh
from brs_detr.data.checks.check import DataReport, PlacedFinding, SplitReport
from brs_detr.data.findings import Example
from brs_detr.report.crop import crop_box, load_upright
from brs_detr.runtime.draw import class_colour

SAMPLES_PER_CLASS = 8
MAX_SAMPLES = 320  # per page, which stays small enough for e-mail
SAMPLES_PER_FINDING = 4

_FAULT = (230, 40, 40)
_FAULT_WINDOW = 120.0  # pixels, to show some of the surroundings


class Sample(NamedTuple):
    """An image and its description."""

    picture: Image.Image
    text: str


class _Crop(NamedTuple):
    """A box (x1, y1, x2, y2) to crop from an image file."""

    label: int
    path: Path
    box_xyxy: tuple[float, ...]
    text: str


def class_samples(report: DataReport, max_samples: int = MAX_SAMPLES) -> dict[int, list[Sample]]:
    """Crop objects of each class from the training images, from the smallest to the largest.

    Args:
        report: of a dataset. Classes without a training box are shown from other splits.
        max_samples: limit for all classes together; with many classes there are fewer of each.

    Returns:
        Samples by label; classes without a readable image are left out.
    """
    num_classes = len(report.class_names)
    per_class = min(SAMPLES_PER_CLASS, max(max_samples // max(num_classes, 1), 1))
    good = [_good_boxes(part, num_classes) for part in report.splits.values()]
    choices = (crop for label in range(num_classes) for crop in _choose(report, good, label, per_class))
    crops = list(itertools.islice(choices, max_samples))
    samples: dict[int, list[Sample]] = defaultdict(list)
    for crop, picture in zip(crops, _cut_out(crops), strict=True):
        if picture is not None:
            samples[crop.label].append(Sample(picture, crop.text))
    return dict(samples)


def fault_samples(report: DataReport, placed: PlacedFinding, limit: int = SAMPLES_PER_FINDING) -> list[Sample]:
    """Return the first boxes of a finding about boxes, or the images of a finding about readable images."""
    part = report.splits.get(placed.split)
    samples = (_fault_sample(part, example) for example in placed.finding.shown)
    return list(itertools.islice(itertools.chain.from_iterable(samples), limit))


def _good_boxes(part: SplitReport, num_classes: int) -> list[NDArray[np.int64]]:
    """Return, for each class, the indices of its boxes that are not crowds and lie on a readable image."""
    faulty = {image["id"] for image, look in zip(part.dataset["images"], part.looks, strict=True) if look.fault}
    is_good = np.array([image["id"] not in faulty for image in part.boxes.images], dtype=bool) & ~part.boxes.is_crowd
    inds = np.flatnonzero(is_good)
    inds = inds[np.argsort(part.boxes.labels[inds], kind="stable")]
    return np.split(inds, np.searchsorted(part.boxes.labels[inds], np.arange(1, num_classes)))


def _choose(report: DataReport, good: Sequence[list[NDArray[np.int64]]], label: int, count: int) -> list[_Crop]:
    """Choose boxes of a class, evenly spread by size, from the first split that has any."""
    for part, by_class in zip(report.splits.values(), good, strict=True):
        inds = by_class[label]
        if len(inds):
            areas = part.boxes.sides[inds].prod(axis=1)
            steps = np.linspace(0, len(inds) - 1, min(count, len(inds))).round().astype(int)
            chosen = inds[np.argsort(areas, kind="stable")][steps]
            return [_crop(part, index, report.class_names[label]) for index in chosen.tolist()]
    return []


def _crop(part: SplitReport, index: int, name: str) -> _Crop:
    boxes = part.boxes
    image, annotation = boxes.images[index], boxes.annotations[index]
    text = f"{name}: annotation {annotation['id']}, image {image['id']} ({image['file_name']})"
    box = tuple(boxes.boxes_xyxy[index].tolist())
    return _Crop(int(boxes.labels[index]), part.split.image_dir / image["file_name"], box, text)


def _cut_out(crops: Sequence[_Crop]) -> list[Image.Image | None]:
    """Cut out each box, opening each file once; None if a file cannot be read."""
    by_file: dict[Path, list[int]] = defaultdict(list)
    for index, crop in enumerate(crops):
        by_file[crop.path].append(index)
    pictures: list[Image.Image | None] = [None] * len(crops)
    for path, inds in by_file.items():
        picture = _load(path)
        if picture is not None:
            for index in inds:
                pictures[index] = crop_box(picture, crops[index].box_xyxy, class_colour(crops[index].label))
    return pictures


def _fault_sample(part: SplitReport | None, example: Example) -> Iterator[Sample]:
    if part is not None and example.annotation_id is not None and example.file_name is not None:
        found = [entry for entry in part.dataset["annotations"] if entry["id"] == example.annotation_id]
        box_xyxy = xyxy_from_xywh([found[0]["bbox"]])[0]
        picture = _load(part.split.image_dir / example.file_name)
        if picture is not None and np.isfinite(box_xyxy).all():
            yield Sample(crop_box(picture, box_xyxy, _FAULT, min_window=_FAULT_WINDOW), example.text)
        return
    for path in example.files:
        picture = _load(path)
        if picture is not None:
            picture.thumbnail((160, 160))
            yield Sample(picture, f"{path.name}: {example.text}")


def _load(path: Path) -> Image.Image | None:
    try:
        return load_upright(path)
    except Exception:  # a damaged file, which is a finding of its own
        return None
