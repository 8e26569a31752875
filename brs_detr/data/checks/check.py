"""Check splits and whole datasets before any time is spent on training with them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from brs_detr.data import kinds
from brs_detr.data.annotations import read_annotations
from brs_detr.data.checks.annotation_check import find_annotation_faults
from brs_detr.data.checks.box_check import BoxTable, find_odd_boxes, tabulate_boxes
from brs_detr.data.checks.image_check import (
    NO_FILE,
    ImageLook,
    Progress,
    image_faults,
    image_notes,
    look_at_images,
    unlisted_images,
)
from brs_detr.data.checks.split_statistics import SplitStatistics, find_odd_counts, measure_split, odd_classes
from brs_detr.data.checks.twins import DecodedImage, find_leaks, find_repeated
from brs_detr.data.findings import Example, Finding, Findings, merged
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.data.formats.layout import DataSource, SourceSplit, SplitContent
from brs_detr.data.formats.splits import describe_splits, place_splits
from brs_detr.data.kinds import SEVERITIES, FaultKind, Severity
from brs_detr.data.text import odd_values
from brs_detr.errors import UserError

DEFAULT_SIZE = (1333, 800)
"""(long side, short side) in pixels that images are resized to by default."""

_BLINDING = (kinds.FRACTION_BOXES, kinds.UNTRAINED_BOXES, kinds.CROWDED_IMAGE)
"""With these nothing more can be said of boxes."""


def check_split(split: CocoSplit | SourceSplit, progress: Progress | None = None) -> Findings:
    """Refuse a split that cannot be trained on or evaluated; report what will be dropped.

    Args:
        split: from `brs_detr.data.formats.coco_folder.find_splits` or `brs_detr.data.formats.source.open_source`.
        progress: called as `progress(done, total)` while image headers are read.

    Returns:
        The findings that are not fatal.

    Raises:
        UserError: the annotation file cannot be read, or there are fatal findings; all of them are in one message.
    """
    findings = find_faults(split, progress)
    findings.refuse_fatal()
    return findings


def find_faults(split: CocoSplit | SourceSplit, progress: Progress | None = None) -> Findings:
    """Find all faults that `check_split` refuses or reports.

    Raises:
        UserError: nothing at all can be read, for example because the annotation file is missing or is not COCO JSON.
    """
    if isinstance(split, CocoSplit):
        file, content = split.annotation_file, SplitContent(read_annotations(split.annotation_file))
    else:
        file, content = split.file, split.read()
    findings = content_faults(file, content)
    if findings.are_of_entries:
        return findings
    looks = look_at_images(content.dataset["images"], split.image_dir, progress=progress)
    return merged(file, findings.found, image_faults(looks))


def content_faults(file: Path, content: SplitContent) -> Findings:
    """Findings of a reader, and what is wrong with the entries it read; images are not looked at.

    Args:
        file: name of the split in messages.
        content: result of the reader.
    """
    faults = find_annotation_faults(content.dataset, file).found
    if any(finding.kind.is_fatal for finding in content.findings):  # then that is why there is no box
        faults = tuple(finding for finding in faults if finding.kind != kinds.NO_BOX)
    odd = list(odd_values(content.dataset, skipped=("bbox", "file_name")))
    return merged(file, content.findings, faults, [Finding.of(kinds.ODD_VALUE, odd)] if odd else [])


@dataclass(frozen=True)
class SplitReport:
    """What was found in one split.

    Args:
        split: the split.
        dataset: COCO object as read; without entries where they cannot be used at all.
        looks: what is known of each image, in the order of the images.
        boxes: the usable ones.
        statistics: of images and boxes.
        findings: one entry per kind of fault.
    """

    split: SourceSplit
    dataset: dict[str, Any]
    looks: tuple[ImageLook, ...]
    boxes: BoxTable
    statistics: SplitStatistics
    findings: tuple[Finding, ...]

    @property
    def decoded(self) -> list[DecodedImage]:
        """The images that have a fingerprint."""
        return _decoded(self.split.name, self.dataset, self.looks)


class PlacedFinding(NamedTuple):
    """A finding and the split it was made in; `split` is empty for what concerns several."""

    split: str
    finding: Finding


@dataclass(frozen=True)
class DataReport:
    """What was found in a dataset.

    Args:
        source: the dataset.
        class_names: in the order of their labels.
        splits: by name.
        findings: those that concern several splits.
        resized_to: (long side, short side) in pixels that images are resized to for training.
    """

    source: DataSource
    class_names: tuple[str, ...]
    splits: dict[str, SplitReport]
    findings: tuple[Finding, ...]
    resized_to: tuple[int, int]

    @property
    def placed_findings(self) -> list[PlacedFinding]:
        """All findings, errors first."""
        of_splits = [PlacedFinding(name, finding) for name, part in self.splits.items() for finding in part.findings]
        found = [*of_splits, *(PlacedFinding("", finding) for finding in self.findings)]
        order = list(SEVERITIES)
        return sorted(found, key=lambda placed: order.index(placed.finding.kind.severity))

    def of_severity(self, severity: Severity) -> list[PlacedFinding]:
        """The findings of one severity."""
        return [placed for placed in self.placed_findings if placed.finding.kind.severity == severity]

    @property
    def is_trainable(self) -> bool:
        """Whether training would start: an error in the test images alone does not keep it from that."""
        return all(placed.split == "test" and "val" in self.splits for placed in self.of_severity("error"))

    def record(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "data": str(self.source.folder),
            "format": self.source.format,
            "resized_to": list(self.resized_to),
            **{f"{severity}s": len(self.of_severity(severity)) for severity in SEVERITIES},
            "class_names": list(self.class_names),
            "splits": {name: part.statistics.record(self.class_names) for name, part in self.splits.items()},
            "findings": [_finding_record(*placed) for placed in self.placed_findings],
        }


def _finding_record(split: str, finding: Finding) -> dict[str, Any]:
    return {
        "what": finding.kind.what,
        "severity": finding.kind.severity,
        "split": split or None,
        "count": finding.count,
        "cure": finding.kind.cure,
        "text": str(finding),
        "examples": [{**vars(example), "files": list(map(str, example.files))} for example in finding.shown],
    }


def check_source(
    source: DataSource, *, resized_to: tuple[int, int] = DEFAULT_SIZE, progress: Progress | None = None
) -> DataReport:
    """Find everything that is wrong or odd with a dataset. Every image is decoded.

    Args:
        source: from `brs_detr.data.formats.source.open_source`.
        resized_to: (long side, short side) in pixels that images are resized to for training, proportions kept.
        progress: called as `progress(done, total)` while images are looked at.

    Returns:
        The findings and statistics. The errors are those that `check_split` refuses a split for, in the same words, and
        images whose damage only shows when they are decoded.
    """
    contents = {name: _read(split) for name, split in source.splits.items()}
    class_names = _class_names(dataset for dataset, _ in contents.values())
    total, done = sum(len(dataset["images"]) for dataset, _ in contents.values()), 0

    def report_step(*_: int) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    splits = {}
    for name, (dataset, findings) in contents.items():
        split = source.splits[name]
        looks = look_at_images(dataset["images"], split.image_dir, is_thorough=True, progress=report_step)
        splits[name] = _examine(split, dataset, findings, looks, class_names, resized_to)
    is_sound = not any(finding.kind.is_fatal for part in splits.values() for finding in part.findings)
    common, splits = _lifted(splits)
    between = (*common, *find_odd_splits(source, is_sound), *_compare(splits, class_names, is_sound))
    return DataReport(source, class_names, splits, between, resized_to)


def _read(split: SourceSplit) -> tuple[dict[str, Any], Findings]:
    """The content of a split, empty where it cannot be used, and what is wrong with its entries."""
    nothing: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    try:
        content = split.read()
    except UserError as error:
        kind = FaultKind(kinds.UNREADABLE_SPLIT, error.hint or "Mend or export the annotations again.")
        return nothing, Findings(split.file, (Finding.of(kind, [error.message]),))
    findings = content_faults(split.file, content)
    return (nothing if findings.are_of_entries else content.dataset), findings


def _class_names(datasets: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Names in the order of their ids, those of later splits alone at the end."""
    names: dict[str, None] = {}
    for dataset in datasets:
        categories = sorted(dataset["categories"], key=lambda category: category["id"])
        names.update(dict.fromkeys(category["name"] for category in categories))
    return tuple(names)


def _examine(
    split: SourceSplit,
    dataset: dict[str, Any],
    findings: Findings,
    looks: list[ImageLook],
    class_names: tuple[str, ...],
    resized_to: tuple[int, int],
) -> SplitReport:
    boxes = tabulate_boxes(dataset, class_names)
    statistics = measure_split(dataset["images"], boxes, len(class_names), resized_to)
    found = merged(
        split.file,
        findings.found,
        image_faults(looks),
        () if any(map(findings.count, _BLINDING)) else find_odd_boxes(boxes, resized_to),
        find_repeated(_decoded(split.name, dataset, looks)),
        image_notes(dataset, looks),
    )
    return SplitReport(split, dataset, tuple(looks), boxes, statistics, found.found)


def _decoded(split: str, dataset: dict[str, Any], looks: Iterable[ImageLook]) -> list[DecodedImage]:
    pairs = zip(dataset["images"], looks, strict=True)
    return [DecodedImage(split, image, look.path, look.fingerprint) for image, look in pairs if look.fingerprint]


def _lifted(splits: dict[str, SplitReport]) -> tuple[list[Finding], dict[str, SplitReport]]:
    """Findings that all splits share, because they are about the dataset, and the splits without them."""
    first, *others = splits.values()
    common = [finding for finding in first.findings if others and all(finding in other.findings for other in others)]
    rest = {
        name: replace(part, findings=tuple(finding for finding in part.findings if finding not in common))
        for name, part in splits.items()
    }
    return common, rest


def _compare(splits: dict[str, SplitReport], class_names: tuple[str, ...], is_sound: bool) -> Iterator[Finding]:
    usable = {name: part for name, part in splits.items() if part.dataset["categories"]}
    if usable:
        names = {part.split.file: [entry["name"] for entry in part.dataset["categories"]] for part in usable.values()}
        yield from odd_classes(names)
        counts = {name: part.statistics.boxes_by_class for name, part in usable.items()}
        if is_sound or any(count.any() for count in counts.values()):  # else an error says why there is no box
            yield from find_odd_counts(counts, class_names)
    yield from find_leaks([part.decoded for part in splits.values()])
    unlisted = list(_unlisted(splits))
    if unlisted:
        yield Finding.of(kinds.UNLISTED_IMAGE, unlisted)


def _unlisted(splits: dict[str, SplitReport]) -> Iterator[Example]:
    looks = (look for part in splits.values() for look in part.looks)
    listed = {look.path.resolve() for look in looks if look.fault is None or look.fault[0] not in NO_FILE}
    for folder in dict.fromkeys(part.split.image_dir for part in splits.values() if part.split.is_coco):
        yield from unlisted_images(folder, listed)


def find_odd_splits(source: DataSource, is_sound: bool) -> Iterator[Finding]:
    """Find what training lacks: images to train with, and others to validate with.

    Args:
        source: the dataset.
        is_sound: whether nothing fatal was found in any split; only then dividing is tried.
    """
    names = list(source.splits)
    if "all" in names or names == ["train"]:
        yield from _divided(source) if is_sound else ()
    elif "train" not in names:
        text = f"{source.folder} has no train split, only {', '.join(names)}."
        yield Finding.of(kinds.NO_TRAINING_SPLIT, [text])
    elif "val" not in names:
        yield Finding.of(kinds.TEST_FOR_VAL, [f"{source.folder} has {', '.join(names)}"])


def _divided(source: DataSource) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryDirectory(prefix="brs-detr-") as folder:
            place_splits(source, Path(folder), seed=0)
    except UserError as error:
        kind = FaultKind(kinds.INDIVISIBLE, error.hint or "Divide it yourself.")
        yield Finding.of(kind, [error.message])
        return
    yield Finding.of(kinds.HELD_OUT, [text for text in describe_splits(source, seed=0).values() if text != "found"][:1])
