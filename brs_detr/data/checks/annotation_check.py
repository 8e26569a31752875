"""Check what an annotation file says, without looking at any image."""

from __future__ import annotations

import math
import posixpath
import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brs_detr.data.bounds import MAX_BOXES, MAX_CLASSES
from brs_detr.data.boxes import judge_boxes, xyxy_from_xywh
from brs_detr.data.checks.reading_check import fitting_readings, shared_mistake, shifted_ids
from brs_detr.data.findings import (
    CROWD_BOXES,
    CROWDED_IMAGE,
    DUPLICATE_FILE,
    DUPLICATE_ID,
    DUPLICATE_NAME,
    MALFORMED,
    NO_BOX,
    NOT_FINITE_BOX,
    ODD_SEGMENTATION,
    OTHER_READING,
    OUTSIDE_BOX,
    SHIFTED_IDS,
    SHIFTED_IMAGE_IDS,
    TOO_MANY_CLASSES,
    UNKNOWN_CATEGORY,
    UNKNOWN_IMAGE,
    ZERO_AREA_BOX,
    Example,
    FaultKind,
    Finding,
    Findings,
)
from brs_detr.data.odd_values import MAX_INTEGER, is_number
from brs_detr.data.segmentations import usable_segmentation

Entry = dict[str, Any]


def find_annotation_faults(dataset: dict[str, list[Entry]], file: Path) -> Findings:
    """Find everything that is wrong with the entries of an annotation file.

    Args:
        dataset: from `brs_detr.data.annotations.read_annotations`.
        file: where it was read, for the messages.

    Returns:
        One finding per kind of fault. When entries are malformed or too many, this is the only kind looked for.
    """
    num_classes = len(dataset["categories"])
    if num_classes > MAX_CLASSES:
        text = f"categories has {num_classes:,} entries, more than {MAX_CLASSES:,}"
        return Findings(file, (Finding.of(TOO_MANY_CLASSES, [text]),))
    malformed = list(_malformed_entries(dataset))
    if malformed:
        return Findings(file, (Finding.of(MALFORMED, malformed),))
    used, listed = ([entry[key] for entry in dataset[part]] for part, key in _CATEGORY_IDS)
    faults: dict[FaultKind, Sequence[str | Example]] = {
        DUPLICATE_ID: list(_duplicate_ids(dataset)),
        DUPLICATE_NAME: _repeated(category["name"] for category in dataset["categories"]),
        DUPLICATE_FILE: list(_duplicate_files(dataset["images"])),
        **_broken_references(dataset),
        SHIFTED_IDS: shifted_ids(used, listed),
        NO_BOX: [] if used else [Example("nothing to learn from or to measure with")],
        CROWD_BOXES: _only_crowds(dataset["annotations"]),
        CROWDED_IMAGE: _crowded_images(dataset),
        ODD_SEGMENTATION: list(_odd_segmentations(dataset)),
    }
    found = [Finding.of(kind, examples) for kind, examples in faults.items() if examples]
    return Findings(file, (*found, *_box_faults(dataset)))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and is_number(value)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_id, value))


def _is_length(value: Any) -> bool:
    return is_number(value) and 0 < value <= MAX_INTEGER and float(value).is_integer()


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


_CATEGORY_IDS = (("annotations", "category_id"), ("categories", "id"))

_FIELDS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "images": {
        "id": (_is_id, "an integer"),
        "file_name": (lambda value: isinstance(value, str), "a text"),
        "width": (_is_length, "a positive integer"),
        "height": (_is_length, "a positive integer"),
    },
    "categories": {"id": (_is_id, "an integer"), "name": (lambda value: isinstance(value, str), "a text")},
    "annotations": {
        "id": (_is_id, "an integer"),
        "image_id": (_is_id, "an integer"),
        "category_id": (_is_id, "an integer"),
        "bbox": (_is_box, "a list of four numbers"),
    },
}

_OPTIONAL_FIELDS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "images": {
        "neg_category_ids": (_are_ids, "a list of integers"),
        "not_exhaustive_category_ids": (_are_ids, "a list of integers"),
    },
    "categories": {},
    "annotations": {
        "area": (lambda value: value is None or is_number(value), "a number"),
        "iscrowd": (lambda value: value is None or (isinstance(value, int | float) and value in (0, 1)), "0 or 1"),
    },
}

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def _malformed_entries(dataset: dict[str, list[Entry]]) -> Iterator[str]:
    for section, fields in _FIELDS.items():
        for place, entry in enumerate(dataset[section]):
            if not isinstance(entry, dict):
                yield f"{section}[{place}] is not an object"
                continue
            yield from (f"{section}[{place}] has no '{key}'" for key in fields if key not in entry)
            for key, (is_valid, wanted) in (*fields.items(), *_OPTIONAL_FIELDS[section].items()):
                if key in entry and not is_valid(entry[key]):
                    yield f"'{key}' of {section}[{place}] is {_SHORT.repr(entry[key])}, not {wanted}"


def _repeated(values: Any) -> list[str]:
    return [f"{value!r} {times} times" for value, times in Counter(values).items() if times > 1]


def _duplicate_ids(dataset: dict[str, list[Entry]]) -> Iterator[str]:
    for section in _FIELDS:
        for repeated in _repeated(entry["id"] for entry in dataset[section]):
            yield f"{section}: id {repeated}"


def _duplicate_files(images: list[Entry]) -> Iterator[Example]:
    first: dict[str, Entry] = {}
    for image in images:
        known = first.setdefault(posixpath.normpath(image["file_name"]), image)
        if known is not image:
            name = image["file_name"]
            yield Example(f"{name}: image {image['id']}, and image {known['id']} before it", image["id"], name)


def _broken_references(dataset: dict[str, list[Entry]]) -> dict[FaultKind, list[Example]]:
    image_ids = {image["id"] for image in dataset["images"]}
    category_ids = {category["id"] for category in dataset["categories"]}

    def examples(key: str, known: set[int]) -> list[Example]:
        return [
            Example(f"{annotation_text(entry)}: {key[:-3]} {entry[key]}", entry["image_id"], annotation_id=entry["id"])
            for entry in dataset["annotations"]
            if entry[key] not in known
        ]

    used = {entry["image_id"] for entry in dataset["annotations"]}
    shifted = [Example(text) for text in shifted_ids(used, image_ids, "images")]
    return {
        SHIFTED_IMAGE_IDS: shifted,
        UNKNOWN_IMAGE: [] if shifted else examples("image_id", image_ids),
        UNKNOWN_CATEGORY: examples("category_id", category_ids),
    }


def _only_crowds(annotations: list[Entry]) -> list[Example]:
    is_all = annotations and all(annotation.get("iscrowd") for annotation in annotations)
    return [Example(f"{len(annotations)} of {len(annotations)} boxes")] if is_all else []


def _crowded_images(dataset: dict[str, list[Entry]]) -> list[Example]:
    counts = Counter(annotation["image_id"] for annotation in dataset["annotations"])
    crowded = {image_id: count for image_id, count in counts.items() if count > MAX_BOXES}
    return [
        Example(f"image {image['id']} ({image['file_name']}): {crowded[image['id']]:,} boxes, more than {MAX_BOXES:,}")
        for image in dataset["images"]
        if image["id"] in crowded
    ]


def _odd_segmentations(dataset: dict[str, list[Entry]]) -> Iterator[Example]:
    images = {image["id"]: image for image in dataset["images"]}
    for annotation in dataset["annotations"]:
        stated, image = annotation.get("segmentation"), images.get(annotation["image_id"])
        if stated and image and usable_segmentation(stated, (image["height"], image["width"])) is not stated:
            where = f"{annotation_text(annotation)}, image {image['id']} ({image['file_name']})"
            yield Example(where, image["id"], image["file_name"], annotation["id"])


def _box_faults(dataset: dict[str, list[Entry]]) -> Iterator[Finding]:
    images = {image["id"]: image for image in dataset["images"]}
    known = [annotation for annotation in dataset["annotations"] if annotation["image_id"] in images]
    boxes_xywh = np.array([annotation["bbox"] for annotation in known], dtype=np.float64).reshape(-1, 4)
    owners = [images[annotation["image_id"]] for annotation in known]
    sizes = np.reshape([(image["height"], image["width"]) for image in owners], (-1, 2))
    verdict = judge_boxes(xyxy_from_xywh(boxes_xywh), sizes)
    masks = {NOT_FINITE_BOX: verdict.not_finite, OUTSIDE_BOX: verdict.outside, ZERO_AREA_BOX: verdict.empty}
    mistake = shared_mistake(boxes_xywh)
    if mistake is not None:
        masks[ZERO_AREA_BOX] = verdict.empty & ~mistake[1]
        masks[mistake[0]] = mistake[1]
    for kind, mask in masks.items():
        if mask.any():
            examples = [box_example(known[at], owners[at]) for at in np.flatnonzero(mask)]
            yield Finding.of(kind, examples, None if kind.severity == "warning" else len(known))
    readings = fitting_readings(boxes_xywh, sizes)
    if readings:
        yield Finding.of(OTHER_READING, readings)


def annotation_text(annotation: Entry) -> str:
    """What a message calls an annotation: its id, and where it stands in a file of another format than COCO."""
    source = f" ({annotation['source']})" if isinstance(annotation.get("source"), str) else ""
    return f"annotation {annotation['id']}{source}"


def box_example(annotation: Entry, image: Entry, remark: str = "") -> Example:
    """A faulty box: ids, file, size of the image (width x height) and [x, y, width, height].

    Args:
        annotation: with `id` and `bbox`.
        image: that it is on, with `id`, `file_name`, `width` and `height`.
        remark: what there is to say of it, at the end.
    """
    box = ", ".join(f"{number:g}" if math.isfinite(number) else str(number) for number in annotation["bbox"])
    where = f"image {image['id']} ({image['file_name']}, {image['width']} x {image['height']})"
    text = f"{annotation_text(annotation)}, {where}: [{box}]{remark}"
    return Example(text, image["id"], image["file_name"], annotation["id"])
