"""Correct a split as far as that can be done without a human eye."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.data import kinds
from brs_detr.data.boxes import clip_boxes, xywh_from_xyxy
from brs_detr.data.checks.annotation_check import judged
from brs_detr.data.checks.box_check import find_repeats, tabulate_boxes
from brs_detr.data.checks.check import SplitReport
from brs_detr.data.checks.cleaning import completed
from brs_detr.data.checks.image_check import IMAGE_FAULTS
from brs_detr.data.kinds import FaultKind

Entry = dict[str, Any]

_MENDED = (
    kinds.DUPLICATE_ID,
    kinds.DUPLICATE_NAME,
    kinds.UNKNOWN_IMAGE,
    kinds.UNKNOWN_CATEGORY,
    kinds.NOT_FINITE_BOX,
    kinds.OUTSIDE_BOX,
    kinds.NO_BOX,
    kinds.SIDEWAYS_SIZE,
)
_MIN_INSIDE = 0.5  # share of a box that must be on the image, if the rest is to be clipped away
_MIN_CLIPPED = 0.01  # pixels: less is arithmetic


@dataclass(frozen=True)
class MendedSplit:
    """A corrected split.

    Args:
        dataset: COCO object, its ids numbered from 1.
        files: the file of each of its images.
        sideways: those that must be saved without their EXIF rotation, because they were annotated without it.
        changes: what was done, and how often.
    """

    dataset: dict[str, Any]
    files: tuple[Path, ...]
    sideways: frozenset[Path]
    changes: dict[str, int]


def mend_split(part: SplitReport, leaked: Collection[int], class_names: Sequence[str]) -> MendedSplit:
    """Correct one split, and leave out what cannot be corrected.

    Args:
        part: result of the check.
        leaked: ids of images to leave out because another split has them.
        class_names: of the dataset, in the order of their labels; they become its categories.
    """
    changes: Counter[str] = Counter()
    homes = _choose_images(part, leaked, changes)
    _count_left_out(part, changes)
    kept = sorted({home for home in homes.values() if home is not None})
    annotations = _choose_annotations(part.dataset, homes, changes)
    dataset = _numbered(part.dataset, kept, annotations, class_names)
    dataset = _without_repeats(dataset, class_names, changes)
    files = tuple(part.looks[index].path for index in kept)
    sideways = frozenset(part.looks[index].path for index in kept if _fault(part, index) == kinds.SIDEWAYS_SIZE)
    changes["images saved without their EXIF rotation"] += len(sideways)
    return MendedSplit(dataset, files, sideways, {what: count for what, count in changes.items() if count})


def _choose_images(part: SplitReport, leaked: Collection[int], changes: Counter[str]) -> dict[int, int | None]:
    """For each image id the index of the image that its boxes go to, None for one that is left out.

    Of equal images the one with the most boxes is kept.
    """
    images = part.dataset["images"]
    num_boxes = Counter(annotation["image_id"] for annotation in part.dataset["annotations"])
    ambiguous = _ambiguous_ids(images)
    homes: dict[int, int | None] = {}
    by_path: dict[Path, int] = {}
    by_pixels: dict[bytes, int] = {}
    for index in sorted(range(len(images)), key=lambda index: -num_boxes[images[index]["id"]]):
        image_id, look = images[index]["id"], part.looks[index]
        path = look.path.resolve() if _fault(part, index) in (None, kinds.SIDEWAYS_SIZE) else None
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
            homes[image_id] = by_path[path] = index
            if pixels is not None:
                by_pixels[pixels] = index
    return homes


def _ambiguous_ids(images: list[Entry]) -> set[int]:
    names: dict[int, set[str]] = {}
    for image in images:
        names.setdefault(image["id"], set()).add(posixpath.normpath(image["file_name"]))
    return {image_id for image_id, files in names.items() if len(files) > 1}


def _fault(part: SplitReport, index: int) -> FaultKind | None:
    fault = part.looks[index].fault
    return None if fault is None else fault[0]


def _count_left_out(part: SplitReport, changes: Counter[str]) -> None:
    for finding in part.findings:
        if finding.kind.is_fatal and finding.kind not in _MENDED:
            noun = "images " if finding.kind in IMAGE_FAULTS else ""
            changes[f"{noun}left out: {finding.kind.what}"] += finding.count


def _choose_annotations(dataset: dict[str, Any], homes: dict[int, int | None], changes: Counter[str]) -> list[Entry]:
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
    owners, boxes_xyxy, sizes, verdict = judged(annotations, images)
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
        completed(annotations[index], boxes_xywh[index], owners[index], bool(overhang[index]))
        for index in np.flatnonzero(is_kept).tolist()
    ]


def _areas(boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.prod(np.clip(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0, None), axis=1)


def _numbered(
    dataset: dict[str, Any], kept: list[int], annotations: list[Entry], class_names: Sequence[str]
) -> dict[str, Any]:
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    category_ids = {name: number for number, name in enumerate(class_names, start=1)}
    image_ids = {index: number for number, index in enumerate(kept, start=1)}
    return {
        "images": [{**dataset["images"][index], "id": image_ids[index]} for index in kept],
        "annotations": [
            {
                **entry,
                "id": number,
                "image_id": image_ids[entry["image_id"]],
                "category_id": category_ids[names[entry["category_id"]]],
            }
            for number, entry in enumerate(annotations, start=1)
        ],
        "categories": [{"id": number, "name": name} for name, number in category_ids.items()],
    }


def _without_repeats(dataset: dict[str, Any], class_names: Sequence[str], changes: Counter[str]) -> dict[str, Any]:
    boxes = tabulate_boxes(dataset, class_names)
    repeated = {boxes.annotations[index]["id"] for index in find_repeats(boxes)[0]}
    changes["boxes left out: drawn twice"] += len(repeated)
    kept = [entry for entry in dataset["annotations"] if entry["id"] not in repeated]
    return {**dataset, "annotations": [{**entry, "id": number} for number, entry in enumerate(kept, start=1)]}
