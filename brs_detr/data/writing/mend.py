"""Take out of a split what is wrong with it, as far as that can be done without a human eye."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.data.boxes import clip_boxes, judge_boxes, xywh_from_xyxy, xyxy_from_xywh
from brs_detr.data.checks.box_check import find_repeats
from brs_detr.data.checks.box_table import tabulate_boxes
from brs_detr.data.checks.cleaning import completed
from brs_detr.data.checks.data_report import SplitReport
from brs_detr.data.checks.image_check import IMAGE_FAULTS
from brs_detr.data.findings import (
    DUPLICATE_ID,
    DUPLICATE_NAME,
    NO_BOX,
    NOT_FINITE_BOX,
    OUTSIDE_BOX,
    SIDEWAYS_SIZE,
    UNKNOWN_CATEGORY,
    UNKNOWN_IMAGE,
    FaultKind,
)
from brs_detr.data.formats.source_dataset import plain

Entry = dict[str, Any]

_MENDED = (
    DUPLICATE_ID,
    DUPLICATE_NAME,
    UNKNOWN_IMAGE,
    UNKNOWN_CATEGORY,
    NOT_FINITE_BOX,
    OUTSIDE_BOX,
    NO_BOX,
    SIDEWAYS_SIZE,
)
_MIN_INSIDE = 0.5  # share of a box that must be on the image, if the rest is to be clipped away
_MIN_CLIPPED = 0.01  # pixels: less is arithmetic


@dataclass(frozen=True)
class MendedSplit:
    """A split without what was wrong with it.

    Args:
        dataset: COCO object, its ids numbered from 1.
        files: for each of its images the file, in the same order.
        sideways: which of these must be saved without their EXIF rotation, because they were annotated without it.
        changes: what was done, and how often.
    """

    dataset: dict[str, Any]
    files: tuple[Path, ...]
    sideways: frozenset[Path]
    changes: dict[str, int]


def mend_split(part: SplitReport, leaked: Collection[int], class_names: Sequence[str]) -> MendedSplit:
    """Mend one split, and leave out what cannot be mended.

    Args:
        part: what the check found.
        leaked: ids of images that are to be left out because another split has them.
        class_names: of the data set, in the order of their labels; they become its categories.
    """
    changes: Counter[str] = Counter()
    homes = _choose_images(part, leaked, changes)
    _count_left_out(part, changes)
    kept = sorted({place for place in homes.values() if place is not None})
    annotations = _choose_annotations(part.dataset, homes, changes)
    dataset = _numbered(part.dataset, kept, annotations, class_names)
    dataset = _without_repeats(dataset, class_names, changes)
    sideways = frozenset(part.looks[place].path for place in kept if _fault(part, place) == SIDEWAYS_SIZE)
    changes["images saved without their EXIF rotation"] += len(sideways)
    files = tuple(part.looks[place].path for place in kept)
    return MendedSplit(dataset, files, sideways, {what: count for what, count in changes.items() if count})


def _choose_images(part: SplitReport, leaked: Collection[int], changes: Counter[str]) -> dict[int, int | None]:
    """For each image id the place of the image that its boxes go to, None for one that is left out.

    Of equal pictures the one with the most boxes is kept.
    """
    images = part.dataset["images"]
    num_boxes = Counter(annotation["image_id"] for annotation in part.dataset["annotations"])
    ambiguous = _ambiguous_ids(images)
    homes: dict[int, int | None] = {}
    by_path: dict[Path, int] = {}
    by_pixels: dict[bytes, int] = {}
    for place in sorted(range(len(images)), key=lambda place: -num_boxes[images[place]["id"]]):
        image_id, look = images[place]["id"], part.looks[place]
        path = look.path.resolve() if _fault(part, place) in (None, SIDEWAYS_SIZE) else None
        pixels = look.fingerprint.pixels if look.fingerprint else None
        homes[image_id] = None
        if image_id in ambiguous:
            changes["images left out: their id is used twice"] += 1
        elif image_id in leaked:
            changes["images left out: they are in another split too"] += 1
        elif path is None:
            pass  # counted with the other findings
        elif path in by_path:
            homes[image_id] = by_path[path]
            changes["entries of one image file joined"] += 1
        elif pixels in by_pixels:
            changes["images left out: the same picture is there in another file"] += 1
        else:
            homes[image_id] = by_path[path] = place
            if pixels is not None:
                by_pixels[pixels] = place
    return homes


def _ambiguous_ids(images: list[Entry]) -> set[int]:
    """Ids of more than one image file."""
    names: dict[int, set[str]] = {}
    for image in images:
        names.setdefault(image["id"], set()).add(posixpath.normpath(image["file_name"]))
    return {image_id for image_id, files in names.items() if len(files) > 1}


def _fault(part: SplitReport, place: int) -> FaultKind | None:
    fault = part.looks[place].fault
    return None if fault is None else fault[0]


def _count_left_out(part: SplitReport, changes: Counter[str]) -> None:
    """What a reader could not read, and images that cannot be used."""
    for finding in part.findings:
        if finding.kind.is_fatal and finding.kind not in _MENDED:
            noun = "images " if finding.kind in IMAGE_FAULTS else ""
            changes[f"{noun}left out: {finding.kind.what}"] += finding.count


def _choose_annotations(dataset: dict[str, Any], homes: dict[int, int | None], changes: Counter[str]) -> list[Entry]:
    """Annotations with a usable box, which is clipped to its image; `image_id` becomes the place of the image."""
    category_ids = {category["id"] for category in dataset["categories"]}
    known = []
    for annotation in dataset["annotations"]:
        home = homes.get(annotation["image_id"])
        if annotation["image_id"] not in homes:
            changes["boxes left out: of an unknown image"] += 1
        elif home is None:
            changes["boxes left out with their images"] += 1
        elif annotation["category_id"] not in category_ids:
            changes["boxes left out: of an unknown category"] += 1
        else:
            known.append({**annotation, "image_id": home})
    return _clipped(known, dataset["images"], changes)


def _clipped(annotations: list[Entry], images: list[Entry], changes: Counter[str]) -> list[Entry]:
    """Boxes clipped to their images, those without area or mostly outside left out."""
    boxes_xyxy = xyxy_from_xywh([entry["bbox"] for entry in annotations])
    owners = [images[entry["image_id"]] for entry in annotations]
    sizes = np.array([(image["height"], image["width"]) for image in owners], dtype=np.float64).reshape(-1, 2)
    verdict = judge_boxes(boxes_xyxy, sizes)
    clipped = clip_boxes(boxes_xyxy, sizes)
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = _areas(clipped) / _areas(boxes_xyxy)
        overhang = np.abs(clipped - boxes_xyxy).max(axis=1, initial=0)
    is_lost = verdict.outside & ~(inside >= _MIN_INSIDE)
    is_kept = ~(verdict.not_finite | verdict.empty | is_lost)
    changes["boxes left out: NaN or infinite"] += int(verdict.not_finite.sum())
    changes["boxes left out: zero area"] += int(verdict.empty.sum())
    changes["boxes left out: more than half outside of the image"] += int(is_lost.sum())
    changes["boxes clipped to the image"] += int((is_kept & (overhang > _MIN_CLIPPED)).sum())
    boxes_xywh = xywh_from_xyxy(clipped).tolist()
    return [
        _with_box(annotations[place], boxes_xywh[place], owners[place], bool(overhang[place]))
        for place in np.flatnonzero(is_kept).tolist()
    ]


def _areas(boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.prod(np.clip(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0, None), axis=1)


def _with_box(annotation: Entry, box_xywh: list[float], image: Entry, is_new: bool) -> Entry:
    mended = completed(annotation, box_xywh, (image["height"], image["width"]), is_new)
    return {**mended, "bbox": [plain(number) for number in box_xywh], "area": plain(mended["area"])}


def _numbered(
    dataset: dict[str, Any], kept: list[int], annotations: list[Entry], class_names: Sequence[str]
) -> dict[str, Any]:
    """Number classes, images and annotations from 1."""
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    category_ids = {name: number for number, name in enumerate(class_names, start=1)}
    image_ids = {place: number for number, place in enumerate(kept, start=1)}
    return {
        "images": [_plainly(dataset["images"][place], id=image_ids[place]) for place in kept],
        "annotations": [
            _plainly(
                entry,
                id=number,
                image_id=image_ids[entry["image_id"]],
                category_id=category_ids[names[entry["category_id"]]],
            )
            for number, entry in enumerate(annotations, start=1)
        ],
        "categories": [{"id": number, "name": name} for name, number in category_ids.items()],
    }


def _plainly(entry: Entry, **changed: Any) -> Entry:
    """An entry that no longer says where it came from."""
    return {**{key: value for key, value in entry.items() if key != "source"}, **changed}


def _without_repeats(dataset: dict[str, Any], class_names: Sequence[str], changes: Counter[str]) -> dict[str, Any]:
    boxes = tabulate_boxes(dataset, class_names)
    repeated = {boxes.annotations[place]["id"] for place in find_repeats(boxes)[0]}
    changes["boxes left out: drawn twice"] += len(repeated)
    kept = [entry for entry in dataset["annotations"] if entry["id"] not in repeated]
    return {**dataset, "annotations": [{**entry, "id": number} for number, entry in enumerate(kept, start=1)]}
