"""Check a split before any time is spent on training with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from brs_detr.data.annotations import read_annotations
from brs_detr.data.checks.annotation_check import find_annotation_faults
from brs_detr.data.checks.image_check import Progress, image_faults, look_at_images
from brs_detr.data.findings import NO_BOX, ODD_VALUE, FaultKind, Finding, Findings
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.data.formats.source_split import SourceSplit, SplitContent
from brs_detr.data.odd_values import odd_values


def check_split(split: CocoSplit | SourceSplit, progress: Progress | None = None) -> Findings:
    """Refuse a split that cannot be trained on or evaluated; report what will be dropped.

    Args:
        split: from `brs_detr.data.formats.coco_folder.find_splits` or `brs_detr.data.formats.source.open_source`.
        progress: called as `progress(done, total)` while image headers are read.

    Returns:
        The findings that are not fatal, counted: zero-area boxes.

    Raises:
        UserError: the annotation file cannot be read, or there are fatal findings; all of them are in one message.
    """
    findings = find_faults(split, progress)
    findings.refuse_fatal()
    return findings


def find_faults(split: CocoSplit | SourceSplit, progress: Progress | None = None) -> Findings:
    """Find what makes a split unusable, and what will be dropped, by its annotations and the headers of its images.

    Args:
        split: from `brs_detr.data.formats.coco_folder.find_splits` or `brs_detr.data.formats.source.open_source`.
        progress: called as `progress(done, total)` while image headers are read.

    Returns:
        One finding per kind of fault.

    Raises:
        UserError: nothing at all can be read, for example because the annotation file is missing or is not COCO JSON.
    """
    file, content = _read(split)
    findings = content_faults(file, content)
    if findings.are_of_entries:
        return findings
    looks = look_at_images(content.dataset["images"], split.image_dir, progress=progress)
    return merged(file, findings.found, image_faults(looks))


def content_faults(file: Path, content: SplitContent) -> Findings:
    """What a reader found, and what is wrong with the entries it read; images are not looked at.

    Args:
        file: what the messages call the split.
        content: what its reader gave.
    """
    faults = find_annotation_faults(content.dataset, file).found
    if any(finding.kind.is_fatal for finding in content.findings):  # then that is why there is no box
        faults = tuple(finding for finding in faults if finding.kind != NO_BOX)
    odd = list(odd_values(content.dataset, skipped=("bbox", "file_name")))
    return merged(file, content.findings, faults, [Finding.of(ODD_VALUE, odd)] if odd else [])


def merged(file: Path, *parts: Iterable[Finding]) -> Findings:
    """Put findings together, those of one kind into one."""
    kinds: dict[FaultKind, Finding] = {}
    for part in parts:
        for finding in part:
            kinds[finding.kind] = kinds[finding.kind].joined(finding) if finding.kind in kinds else finding
    return Findings(file, tuple(kinds.values()))


def _read(split: CocoSplit | SourceSplit) -> tuple[Path, SplitContent]:
    if isinstance(split, CocoSplit):
        return split.annotation_file, SplitContent(read_annotations(split.annotation_file))
    return split.file, split.read()
