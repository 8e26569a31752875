"""Drawn samples of every class, and of boxes that have a fault."""

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
MAX_SAMPLES = 320  # on a page, so that it can be sent by mail
PICTURES_PER_FINDING = 4

_FAULT = (230, 40, 40)
_FAULT_WINDOW = 120.0  # pixels, so that one sees what is meant


class Sample(NamedTuple):
    """A picture and what it shows."""

    picture: Image.Image
    text: str


class _Wanted(NamedTuple):
    """A box (x1, y1, x2, y2) that shall be cut out of an image file."""

    label: int
    path: Path
    box_xyxy: tuple[float, ...]
    text: str


def class_samples(report: DataReport, max_samples: int = MAX_SAMPLES) -> dict[int, list[Sample]]:
    """Objects of each class, from the smallest to the largest, cut out of the training images.

    Args:
        report: of a data set. A class that has no box to train with is shown from the other splits.
        max_samples: of all classes together; of many classes fewer of each are shown.

    Returns:
        By label; classes without a good image are left out.
    """
    num_classes = len(report.class_names)
    per_class = min(SAMPLES_PER_CLASS, max(max_samples // max(num_classes, 1), 1))
    good = [_good_boxes(part, num_classes) for part in report.splits.values()]
    choices = (choice for label in range(num_classes) for choice in _choose(report, good, label, per_class))
    wanted = list(itertools.islice(choices, max_samples))
    samples: dict[int, list[Sample]] = defaultdict(list)
    for choice, picture in zip(wanted, _cut_out(wanted), strict=True):
        if picture is not None:
            samples[choice.label].append(Sample(picture, choice.text))
    return dict(samples)


def fault_samples(report: DataReport, placed: PlacedFinding, limit: int = PICTURES_PER_FINDING) -> list[Sample]:
    """The first boxes of a finding that is about boxes, or the pictures of one that is about good images."""
    part = report.splits.get(placed.split)
    samples = (_fault_sample(part, example) for example in placed.finding.shown)
    return list(itertools.islice(itertools.chain.from_iterable(samples), limit))


def _good_boxes(part: SplitReport, num_classes: int) -> list[NDArray[np.int64]]:
    """For each class the places of its boxes that are no crowd and on an image that can be shown."""
    faulty = {image["id"] for image, look in zip(part.dataset["images"], part.looks, strict=True) if look.fault}
    is_good = np.array([image["id"] not in faulty for image in part.boxes.images], dtype=bool) & ~part.boxes.is_crowd
    places = np.flatnonzero(is_good)
    places = places[np.argsort(part.boxes.labels[places], kind="stable")]
    return np.split(places, np.searchsorted(part.boxes.labels[places], np.arange(1, num_classes)))


def _choose(report: DataReport, good: Sequence[list[NDArray[np.int64]]], label: int, count: int) -> list[_Wanted]:
    """Boxes of a class in even steps of their size, from the first split that has any."""
    for part, by_class in zip(report.splits.values(), good, strict=True):
        places = by_class[label]
        if len(places):
            areas = part.boxes.sides[places].prod(axis=1)
            steps = np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
            chosen = places[np.argsort(areas, kind="stable")][steps]
            return [_wanted(part, place, report.class_names[label]) for place in chosen.tolist()]
    return []


def _wanted(part: SplitReport, place: int, name: str) -> _Wanted:
    boxes = part.boxes
    image, annotation = boxes.images[place], boxes.annotations[place]
    text = f"{name}: annotation {annotation['id']}, image {image['id']} ({image['file_name']})"
    box = tuple(boxes.boxes_xyxy[place].tolist())
    return _Wanted(int(boxes.labels[place]), part.split.image_dir / image["file_name"], box, text)


def _cut_out(wanted: Sequence[_Wanted]) -> list[Image.Image | None]:
    """Each box, opening each file once; None where a file cannot be read."""
    by_file: dict[Path, list[int]] = defaultdict(list)
    for place, choice in enumerate(wanted):
        by_file[choice.path].append(place)
    pictures: list[Image.Image | None] = [None] * len(wanted)
    for path, places in by_file.items():
        picture = _load(path)
        if picture is not None:
            for place in places:
                pictures[place] = crop_box(picture, wanted[place].box_xyxy, class_colour(wanted[place].label))
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
    except Exception:  # damaged, which the findings say
        return None
