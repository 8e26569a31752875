"""What a check of a whole data set found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from brs_detr.data.checks.box_table import BoxTable
from brs_detr.data.checks.image_check import ImageLook
from brs_detr.data.checks.split_statistics import SplitStatistics
from brs_detr.data.findings import SEVERITIES, Finding, Severity
from brs_detr.data.formats.source_split import DataSource, SourceSplit


@dataclass(frozen=True)
class SplitReport:
    """What was found in one split.

    Args:
        split: where it lies.
        dataset: COCO object, as read; without entries where they cannot be used at all.
        looks: what was seen of each image, in the order of the images.
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


class PlacedFinding(NamedTuple):
    """A finding and the split it was made in; `split` is empty for what concerns several."""

    split: str
    finding: Finding


@dataclass(frozen=True)
class DataReport:
    """What was found in a data set.

    Args:
        source: the data set.
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
        order = list(SEVERITIES)
        return sorted(self._all(), key=lambda placed: order.index(placed.finding.kind.severity))

    def of_severity(self, severity: Severity) -> list[PlacedFinding]:
        """The findings of one severity."""
        return [placed for placed in self._all() if placed.finding.kind.severity == severity]

    @property
    def is_trainable(self) -> bool:
        """Whether training would start: an error in the test images alone does not keep it from that."""
        return all(placed.split == "test" and "val" in self.splits for placed in self.of_severity("error"))

    def record(self) -> dict[str, Any]:
        """Everything as plain values for a JSON file."""
        return {
            "data": str(self.source.folder),
            "format": self.source.format,
            "resized_to": list(self.resized_to),
            **{f"{severity}s": len(self.of_severity(severity)) for severity in SEVERITIES},
            "class_names": list(self.class_names),
            "splits": {name: part.statistics.record(self.class_names) for name, part in self.splits.items()},
            "findings": [_finding_record(placed) for placed in self.placed_findings],
        }

    def _all(self) -> Iterator[PlacedFinding]:
        for name, part in self.splits.items():
            yield from (PlacedFinding(name, finding) for finding in part.findings)
        yield from (PlacedFinding("", finding) for finding in self.findings)


def _finding_record(placed: PlacedFinding) -> dict[str, Any]:
    kind = placed.finding.kind
    return {
        "what": kind.what,
        "severity": kind.severity,
        "split": placed.split or None,
        "count": placed.finding.count,
        "cure": kind.cure,
        "text": str(placed.finding),
        "examples": [
            {
                "text": example.text,
                "image_id": example.image_id,
                "file_name": example.file_name,
                "annotation_id": example.annotation_id,
                "files": [str(path) for path in example.files],
            }
            for example in placed.finding.shown
        ],
    }
