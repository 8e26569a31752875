"""Check the entries of an annotation file, one by one and as a whole, without looking at any image."""

from __future__ import annotations

import math
import posixpath
import reprlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brs_detr.data import kinds
from brs_detr.data.boxes import BoxVerdict, judge_boxes, usable_segmentation, xyxy_from_xywh
from brs_detr.data.findings import Example, Finding, Findings, findings_of
from brs_detr.data.kinds import MAX_BOXES, MAX_CLASSES, FaultKind
from brs_detr.data.text import MAX_INTEGER, is_number

Entry = dict[str, Any]
Boxes = NDArray[np.float64]
_Faults = Iterator[tuple[FaultKind, "str | Example"]]

_MOST = 0.95
_SOME = 0.05
_HARDLY_ANY = 0.1
_FULL = 0.9


def find_annotation_faults(dataset: dict[str, list[Entry]], file: Path) -> Findings:
    """Find everything that is wrong with the entries of an annotation file.

    Args:
        dataset: from `brs_detr.data.annotations.read_annotations`.
        file: its name in messages.

    Returns:
        One finding per kind of fault. When entries are malformed or too many, nothing else is checked.
    """
    num_classes = len(dataset["categories"])
    if num_classes > MAX_CLASSES:
        text = f"categories has {num_classes:,} entries, more than {MAX_CLASSES:,}"
        return Findings(file, (Finding.of(kinds.TOO_MANY_CLASSES, [text]),))
    malformed = list(_malformed_entries(dataset))
    if malformed:
        return Findings(file, (Finding.of(kinds.MALFORMED, malformed),))
    return Findings(file, (*findings_of(_entry_faults(dataset)), *_box_faults(dataset)))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and is_number(value)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_id, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_length(value: Any) -> bool:
    return is_number(value) and 0 < value <= MAX_INTEGER and float(value).is_integer()


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def _is_area(value: Any) -> bool:
    return value is None or is_number(value)


def _is_flag(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and value in (0, 1))


_ID, _TEXT, _LENGTH = (_is_id, "an integer"), (_is_text, "a text"), (_is_length, "a positive integer")
_FIELDS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "images": {"id": _ID, "file_name": _TEXT, "width": _LENGTH, "height": _LENGTH},
    "categories": {"id": _ID, "name": _TEXT},
    "annotations": {"id": _ID, "image_id": _ID, "category_id": _ID, "bbox": (_is_box, "a list of four numbers")},
}
_OPTIONAL_FIELDS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "images": dict.fromkeys(("neg_category_ids", "not_exhaustive_category_ids"), (_are_ids, "a list of integers")),
    "categories": {},
    "annotations": {"area": (_is_area, "a number"), "iscrowd": (_is_flag, "0 or 1")},
}

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def _malformed_entries(dataset: dict[str, list[Entry]]) -> Iterator[str]:
    for section, fields in _FIELDS.items():
        for index, entry in enumerate(dataset[section]):
            if not isinstance(entry, dict):
                yield f"{section}[{index}] is not an object"
                continue
            yield from (f"{section}[{index}] has no '{key}'" for key in fields if key not in entry)
            for key, (is_valid, wanted) in (*fields.items(), *_OPTIONAL_FIELDS[section].items()):
                if key in entry and not is_valid(entry[key]):
                    yield f"'{key}' of {section}[{index}] is {_SHORT.repr(entry[key])}, not {wanted}"


def _entry_faults(dataset: dict[str, list[Entry]]) -> _Faults:
    annotations = dataset["annotations"]
    for section in _FIELDS:
        for repeated in _repeated(entry["id"] for entry in dataset[section]):
            yield kinds.DUPLICATE_ID, f"{section}: id {repeated}"
    for repeated in _repeated(category["name"] for category in dataset["categories"]):
        yield kinds.DUPLICATE_NAME, repeated
    yield from ((kinds.DUPLICATE_FILE, example) for example in _duplicate_files(dataset["images"]))
    yield from _broken_references(dataset)
    if not annotations:
        yield kinds.NO_BOX, "nothing to learn from or to measure with"
    elif all(annotation.get("iscrowd") for annotation in annotations):
        yield kinds.CROWD_BOXES, f"{len(annotations)} of {len(annotations)} boxes"
    counts = Counter(annotation["image_id"] for annotation in annotations)
    for image in dataset["images"]:
        if (count := counts[image["id"]]) > MAX_BOXES:
            text = f"image {image['id']} ({image['file_name']}): {count:,} boxes, more than {MAX_BOXES:,}"
            yield kinds.CROWDED_IMAGE, text
    yield from ((kinds.ODD_SEGMENTATION, example) for example in _odd_segmentations(dataset))


def _repeated(values: Iterable[Any]) -> list[str]:
    return [f"{value!r} {times} times" for value, times in Counter(values).items() if times > 1]


def _duplicate_files(images: list[Entry]) -> Iterator[Example]:
    first: dict[str, Entry] = {}
    for image in images:
        known = first.setdefault(posixpath.normpath(image["file_name"]), image)
        if known is not image:
            name = image["file_name"]
            yield Example(f"{name}: image {image['id']}, and image {known['id']} before it", image["id"], name)


def _broken_references(dataset: dict[str, list[Entry]]) -> _Faults:
    image_ids = {image["id"] for image in dataset["images"]}
    category_ids = {category["id"] for category in dataset["categories"]}
    annotations = dataset["annotations"]
    shifted = shifted_ids({entry["image_id"] for entry in annotations}, image_ids, "images")
    yield from ((kinds.SHIFTED_IMAGE_IDS, text) for text in shifted)
    unknown = {
        "image_id": (kinds.UNKNOWN_IMAGE, image_ids),
        "category_id": (kinds.UNKNOWN_CATEGORY, category_ids),
    }
    if shifted:
        del unknown["image_id"]
    for key, (kind, known) in unknown.items():
        for entry in annotations:
            if entry[key] not in known:
                text = f"{annotation_text(entry)}: {key[:-3]} {entry[key]}"
                yield kind, Example(text, entry["image_id"], annotation_id=entry["id"])
    for text in shifted_ids({entry["category_id"] for entry in annotations}, category_ids):
        yield kinds.SHIFTED_IDS, text


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
    owners, _, sizes, verdict = judged(known, images)
    masks = {
        kinds.NOT_FINITE_BOX: verdict.not_finite,
        kinds.OUTSIDE_BOX: verdict.outside,
        kinds.ZERO_AREA_BOX: verdict.empty,
    }
    mistake = shared_mistake(boxes_xywh)
    if mistake is not None:
        masks[kinds.ZERO_AREA_BOX] = verdict.empty & ~mistake[1]
        masks[mistake[0]] = mistake[1]
    for kind, mask in masks.items():
        if mask.any():
            examples = [box_example(known[at], owners[at]) for at in np.flatnonzero(mask)]
            yield Finding.of(kind, examples, None if kind.severity == "warning" else len(known))
    readings = fitting_readings(boxes_xywh, sizes)
    if readings:
        yield Finding.of(kinds.OTHER_READING, readings)


class JudgedBoxes(NamedTuple):
    """Boxes of annotations: their images, corners [N, 4], sizes (h, w) of the images [N, 2], and what is wrong."""

    owners: list[Entry]
    boxes_xyxy: Boxes
    sizes: NDArray[np.float64]
    verdict: BoxVerdict


def judged(annotations: Sequence[Entry], images: Mapping[int, Entry] | Sequence[Entry]) -> JudgedBoxes:
    """Judge the boxes of annotations, whose `image_id` is a key or an index of `images`."""
    owners = [images[annotation["image_id"]] for annotation in annotations]
    boxes_xyxy = xyxy_from_xywh([annotation["bbox"] for annotation in annotations])
    sizes = np.array([(image["height"], image["width"]) for image in owners], dtype=np.float64).reshape(-1, 2)
    return JudgedBoxes(owners, boxes_xyxy, sizes, judge_boxes(boxes_xyxy, sizes))


def annotation_text(annotation: Entry) -> str:
    """The name of an annotation in messages: its id, and where it is in a file of another format than COCO."""
    source = f" ({annotation['source']})" if isinstance(annotation.get("source"), str) else ""
    return f"annotation {annotation['id']}{source}"


def box_example(annotation: Entry, image: Entry, remark: str = "") -> Example:
    """A faulty box: ids, file, size of the image (width x height), [x, y, width, height], and a remark."""
    box = ", ".join(f"{number:g}" if math.isfinite(number) else str(number) for number in annotation["bbox"])
    where = f"image {image['id']} ({image['file_name']}, {image['width']} x {image['height']})"
    text = f"{annotation_text(annotation)}, {where}: [{box}]{remark}"
    return Example(text, image["id"], image["file_name"], annotation["id"])


def _middle(boxes_xywh: Boxes) -> Boxes:
    return boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2


def _as_is(boxes: Boxes) -> Boxes:
    return boxes


def _swapped(boxes: Boxes) -> Boxes:
    return boxes[:, [1, 0, 3, 2]]


_READINGS: dict[str, Callable[[Boxes], Boxes]] = {
    "they are corners x1, y1, x2, y2 in place of x, y, width, height": _as_is,
    "they are corners x1, y1, x2, y2 in place of middle, width, height": lambda boxes: np.hstack(
        [_middle(boxes), boxes[:, 2:]]
    ),
    "they begin with the middle in place of the upper left corner": lambda boxes: xyxy_from_xywh(
        np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]])
    ),
    "they begin with the upper left corner in place of the middle": lambda boxes: xyxy_from_xywh(
        np.hstack([_middle(boxes), boxes[:, 2:]])
    ),
    "x and y are exchanged in them, or width and height of the images": lambda boxes: xyxy_from_xywh(_swapped(boxes)),
}
"""Mistakes, each with the corners (x1, y1, x2, y2) that were meant by what is read as (x, y, width, height)."""

_RARE_READINGS: dict[str, Callable[[Boxes], Boxes]] = {
    "they are corners y1, x1, y2, x2 in place of x, y, width, height": _swapped
}
"""Mistakes that count only where none of the others explains the boxes."""

_THOUSANDTHS: dict[str, Callable[[Boxes], Boxes]] = {
    "x, y, width, height are in thousandths of the image": xyxy_from_xywh,
    "they are corners x1, y1, x2, y2 in thousandths of the image": _as_is,
    "they are corners y1, x1, y2, x2 in thousandths of the image": _swapped,
}


def shared_mistake(boxes_xywh: Boxes) -> tuple[FaultKind, NDArray[np.bool_]] | None:
    """A fault that at least half of the boxes, or nearly all, have in common, and which boxes have it [N].

    Args:
        boxes_xywh: [N, 4] as found: x, y, width, height in pixels.
    """
    sides = boxes_xywh[:, 2:]
    is_finite = np.all(np.isfinite(boxes_xywh), axis=1)
    is_negative = is_finite & np.any(sides < 0, axis=1)
    is_solid = is_finite & np.all(sides > 0, axis=1)
    is_small = is_solid & np.all(sides <= 1, axis=1)
    if is_negative.any() and 2 * is_negative.sum() >= len(sides):
        return kinds.NEGATIVE_BOXES, is_negative
    if not is_solid.any():
        return (kinds.EMPTY_BOXES, is_finite) if len(sides) else None
    if 2 * is_small.sum() >= is_solid.sum() and (sides[is_small] < 1).any():
        return kinds.FRACTION_BOXES, is_small
    is_unit = is_finite & np.all(boxes_xywh <= 1, axis=1)  # rounded fractions
    if is_unit.sum() > 1 and is_unit.sum() >= _FULL * len(sides):
        return kinds.FRACTION_BOXES, is_unit
    is_trained = is_finite & np.all(sides >= 1, axis=1)
    if is_trained.sum() <= _HARDLY_ANY * len(sides):
        return kinds.UNTRAINED_BOXES, is_finite & ~is_trained
    return None


def fitting_readings(boxes_xywh: Boxes, sizes: ArrayLike) -> list[str]:
    """Where a part of the boxes sticks out of the images, other ways to read them by which hardly any would.

    Args:
        boxes_xywh: [N, 4] as found: x, y, width, height in pixels.
        sizes: [N, 2] sizes (h, w) of their images.
    """
    is_solid = np.isfinite(boxes_xywh).all(axis=1) & (boxes_xywh[:, 2:] > 0).all(axis=1)
    boxes_xywh, sizes = boxes_xywh[is_solid], np.asarray(sizes)[is_solid]
    is_outside = judge_boxes(xyxy_from_xywh(boxes_xywh), sizes).outside
    if is_outside.sum() < 2 or is_outside.mean() < _SOME:
        return []
    words = _fitting(_READINGS, boxes_xywh, sizes) or _fitting(_RARE_READINGS, boxes_xywh, sizes)
    if not words:  # thousandths count where they fill a square of 1000 in both directions
        words = _fitting(_THOUSANDTHS, boxes_xywh, (1000, 1000))
        words = [text for text in words if (_THOUSANDTHS[text](boxes_xywh)[:, 2:].max(axis=0) >= _FULL * 1000).all()]
    start = f"{is_outside.sum()} of {len(boxes_xywh)} boxes stick out of their images; hardly any would if "
    return [f"{start}{text}" for text in words]


def _fitting(readings: dict[str, Callable[[Boxes], Boxes]], boxes_xywh: Boxes, sizes: ArrayLike) -> list[str]:
    verdicts = {words: judge_boxes(read(boxes_xywh), sizes) for words, read in readings.items()}
    return [words for words, verdict in verdicts.items() if (~(verdict.outside | verdict.empty)).mean() >= _MOST]


def shifted_ids(used: Collection[int], known: Collection[int], listed: str = "categories") -> list[str]:
    """How ids in annotations differ from those of a list (of `listed`), where all are off by one."""
    if set(used) <= set(known):
        return []
    return [
        f"{min(used)} to {max(used)} in the annotations, {min(known)} to {max(known)} in the list of {listed}"
        for step in (1, -1)
        if {number + step for number in used} <= set(known)
    ]
