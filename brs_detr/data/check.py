"""Check a split before any time is spent on training with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from brs_detr.data.annotation_check import find_annotation_faults
from brs_detr.data.annotations import read_annotations
from brs_detr.data.coco_folder import CocoSplit
from brs_detr.data.findings import MALFORMED, MISSING_IMAGE, UNREADABLE_IMAGE, WRONG_SIZE, FaultKind, Finding, Findings
from brs_detr.data.images import UnreadableImage, read_size

Progress = Callable[[int, int], None]

_NUM_THREADS = 8


def check_split(split: CocoSplit, progress: Progress | None = None) -> Findings:
    """Refuse a split that cannot be trained on or evaluated; report what will be dropped.

    Args:
        split: from `brs_detr.data.coco_folder.find_splits`.
        progress: called as `progress(done, total)` while image headers are read.

    Returns:
        The findings that are not fatal, counted: zero-area boxes.

    Raises:
        UserError: the annotation file cannot be read, or there are fatal findings; all of them are in one message.
    """
    findings = find_faults(split, progress)
    findings.refuse_fatal()
    return findings


def find_faults(split: CocoSplit, progress: Progress | None = None) -> Findings:
    """Find everything that is wrong with a split, fatal or not.

    Args:
        split: from `brs_detr.data.coco_folder.find_splits`.
        progress: called as `progress(done, total)` while image headers are read.

    Returns:
        One finding per kind of fault.

    Raises:
        UserError: the annotation file is missing or is not COCO JSON.
    """
    dataset = read_annotations(split.annotation_file)
    findings = find_annotation_faults(dataset, split.annotation_file)
    if findings.count(MALFORMED):
        return findings
    return Findings(findings.file, (*findings.found, *_image_faults(dataset["images"], split.image_dir, progress)))


def _image_faults(images: list[dict[str, Any]], image_dir: Path, progress: Progress | None) -> Iterator[Finding]:
    faults: dict[FaultKind, list[str]] = {MISSING_IMAGE: [], UNREADABLE_IMAGE: [], WRONG_SIZE: []}
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for done, fault in enumerate(pool.map(lambda image: _image_fault(image, image_dir), images), start=1):
            if fault is not None:
                kind, example = fault
                faults[kind].append(example)
            if progress is not None:
                progress(done, len(images))
    return (Finding.of(kind, examples) for kind, examples in faults.items() if examples)


def _image_fault(image: dict[str, Any], image_dir: Path) -> tuple[FaultKind, str] | None:
    path = image_dir / image["file_name"]
    who = f"image {image['id']}, {path}"
    if not path.is_file():
        return MISSING_IMAGE, who
    try:
        height, width = read_size(path)
    except UnreadableImage as error:
        return UNREADABLE_IMAGE, f"{who}: {error.__cause__}"
    if (height, width) == (image["height"], image["width"]):
        return None
    return WRONG_SIZE, f"{who}: {width} x {height} instead of {image['width']} x {image['height']}"
