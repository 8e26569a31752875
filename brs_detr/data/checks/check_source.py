"""Check a whole data set: every entry, every pixel, and its splits against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from brs_detr.data.checks.box_check import find_odd_boxes
from brs_detr.data.checks.box_table import tabulate_boxes
from brs_detr.data.checks.check import content_faults, merged
from brs_detr.data.checks.class_check import find_odd_counts, odd_classes
from brs_detr.data.checks.data_report import DataReport, SplitReport
from brs_detr.data.checks.image_check import (
    NO_FILE,
    UNLISTED_IMAGE,
    ImageLook,
    Progress,
    image_faults,
    image_notes,
    look_at_images,
    unlisted_images,
)
from brs_detr.data.checks.split_check import find_odd_splits
from brs_detr.data.checks.split_statistics import measure_split
from brs_detr.data.checks.twins import decoded_pictures, find_leaks, find_repeated
from brs_detr.data.findings import CROWDED_IMAGE, FRACTION_BOXES, UNTRAINED_BOXES, Example, FaultKind, Finding, Findings
from brs_detr.data.formats.source_split import DataSource, SourceSplit
from brs_detr.errors import UserError

DEFAULT_SIZE = (1333, 800)
"""(long side, short side) in pixels that images are resized to, where nothing else is said."""

_BLINDING = (FRACTION_BOXES, UNTRAINED_BOXES, CROWDED_IMAGE)
"""With these nothing more can be said of boxes."""

UNREADABLE_SPLIT = "annotations that cannot be read"


def check_source(
    source: DataSource, *, resized_to: tuple[int, int] = DEFAULT_SIZE, progress: Progress | None = None
) -> DataReport:
    """Find everything that is wrong or odd with a data set. Every image is decoded.

    Args:
        source: from `brs_detr.data.formats.source.open_source`.
        resized_to: (long side, short side) in pixels that images are resized to for training, proportions kept.
        progress: called as `progress(done, total)` while images are looked at.

    Returns:
        The findings, and what the data set consists of. The errors are those that `check_split` refuses a split for,
        in the same words, and images whose damage only shows when they are decoded.
    """
    contents = {name: _read(split) for name, split in source.splits.items()}
    class_names = _class_names(dataset for dataset, _ in contents.values())
    total, done = sum(len(dataset["images"]) for dataset, _ in contents.values()), 0
    splits = {}
    for name, (dataset, findings) in contents.items():
        report_step = _shifted(progress, done, total)
        looks = look_at_images(dataset["images"], source.splits[name].image_dir, is_thorough=True, progress=report_step)
        splits[name] = _examine(source.splits[name], dataset, findings, looks, class_names, resized_to)
        done += len(looks)
    is_sound = not any(finding.kind.is_fatal for part in splits.values() for finding in part.findings)
    common, splits = _lifted(splits)
    between = (*common, *find_odd_splits(source, is_sound), *_compare(splits, class_names, is_sound))
    return DataReport(source, class_names, splits, between, resized_to)


def _read(split: SourceSplit) -> tuple[dict[str, Any], Findings]:
    """What a split holds, nothing where it cannot be used, and what is wrong with its entries."""
    nothing: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    try:
        content = split.read()
    except UserError as error:
        kind = FaultKind(UNREADABLE_SPLIT, error.cure or "Mend or export the annotations again.")
        return nothing, Findings(split.file, (Finding.of(kind, [error.message]),))
    findings = content_faults(split.file, content)
    return (nothing if findings.are_of_entries else content.dataset), findings


def _class_names(datasets: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Names in the order of their ids, those that only later splits know at the end."""
    names: dict[str, None] = {}
    for dataset in datasets:
        categories = sorted(dataset["categories"], key=lambda category: category["id"])
        names.update(dict.fromkeys(category["name"] for category in categories))
    return tuple(names)


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress of a part of the work, reported as that of the whole."""
    return None if progress is None else lambda done, _: progress(before + done, total)


def _examine(
    split: SourceSplit,
    dataset: dict[str, Any],
    findings: Findings,
    looks: list[ImageLook],
    class_names: tuple[str, ...],
    resized_to: tuple[int, int],
) -> SplitReport:
    images = dataset["images"]
    boxes = tabulate_boxes(dataset, class_names)
    statistics = measure_split(images, boxes, len(class_names), resized_to)
    found = merged(
        split.file,
        findings.found,
        image_faults(looks),
        () if any(map(findings.count, _BLINDING)) else find_odd_boxes(boxes, resized_to),
        find_repeated(decoded_pictures(split.name, images, looks)),
        image_notes(dataset, looks),
    )
    return SplitReport(split, dataset, tuple(looks), boxes, statistics, found.found)


def _lifted(splits: dict[str, SplitReport]) -> tuple[list[Finding], dict[str, SplitReport]]:
    """Findings that every split has alike, because they are about the data set, and the splits without them."""
    first, *others = splits.values()
    common = [finding for finding in first.findings if others and all(finding in other.findings for other in others)]
    rest = {
        name: replace(part, findings=tuple(finding for finding in part.findings if finding not in common))
        for name, part in splits.items()
    }
    return common, rest


def _compare(splits: dict[str, SplitReport], class_names: tuple[str, ...], is_sound: bool) -> Iterator[Finding]:
    """What only shows when splits are looked at together."""
    usable = {name: part for name, part in splits.items() if part.dataset["categories"]}
    if usable:
        names = {part.split.file: [entry["name"] for entry in part.dataset["categories"]] for part in usable.values()}
        yield from odd_classes(names)
        counts = {name: part.statistics.boxes_by_class for name, part in usable.items()}
        if is_sound or any(count.any() for count in counts.values()):  # else an error says why there is no box
            yield from find_odd_counts(counts, class_names)
    yield from find_leaks([decoded_pictures(name, part.dataset["images"], part.looks) for name, part in splits.items()])
    unlisted = list(_unlisted(splits))
    if unlisted:
        yield Finding.of(UNLISTED_IMAGE, unlisted)


def _unlisted(splits: dict[str, SplitReport]) -> Iterator[Example]:
    looks = (look for part in splits.values() for look in part.looks)
    listed = {look.path.resolve() for look in looks if look.fault is None or look.fault[0] not in NO_FILE}
    folders: dict[Path, None] = dict.fromkeys(part.split.image_dir for part in splits.values() if part.split.is_coco)
    for folder in folders:
        yield from unlisted_images(folder, listed)
