"""The page of a check: findings with cures and pictures, classes, sizes, and drawn samples of every class."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from brs_detr.data.findings import SEVERITIES
from brs_detr.report.check_figures import check_figures
from brs_detr.report.check_table import verdict
from brs_detr.report.figure import colour_of
from brs_detr.report.mosaic import Sample, class_samples, fault_samples
from brs_detr.report.page import write_page, write_whole

if TYPE_CHECKING:
    from brs_detr.data.checks.data_report import DataReport, PlacedFinding

PAGE, RECORD = "check.html", "check.json"


class _Bar(NamedTuple):
    """Boxes of a class in a split: number, images they are on, and length of the bar in 0..1."""

    boxes: int
    images: int
    length: float


class _ClassRow(NamedTuple):
    name: str
    colour: str
    bars: list[_Bar]
    samples: list[Sample]


class _ShownFinding(NamedTuple):
    placed: PlacedFinding
    pictures: list[Sample]


def write_check(report: DataReport, folder: str | Path, version: str) -> Path:
    """Write `check.html`, which needs no other file, and `check.json`.

    Args:
        report: from `brs_detr.data.checks.check_source.check_source`.
        folder: where to; it is made when it does not exist.
        version: of this package, to be named on the page.

    Returns:
        Path of the page.
    """
    folder = Path(folder)
    write_page(
        folder / PAGE,
        "check.html.j2",
        report=report,
        name=report.source.folder.resolve().name,
        image_sizes=_image_sizes(report),
        verdict=verdict(report),
        meanings=SEVERITIES,
        findings=[_ShownFinding(placed, fault_samples(report, placed)) for placed in report.placed_findings],
        classes=list(_class_rows(report)),
        figures=list(check_figures(report)),
        command=shlex.join(["brs-detr", "check", str(report.source.folder)]),
        version=version,
    )
    record = {"brs_detr": version, **report.record()}
    write_whole(folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return folder / PAGE


def _class_rows(report: DataReport) -> Iterator[_ClassRow]:
    samples = class_samples(report)
    statistics = [part.statistics for part in report.splits.values()]
    most = max((int(part.boxes_by_class.max(initial=1)) for part in statistics), default=1)
    for label, name in enumerate(report.class_names):
        bars = [
            _Bar(int(part.boxes_by_class[label]), int(part.images_by_class[label]), part.boxes_by_class[label] / most)
            for part in statistics
        ]
        yield _ClassRow(name, colour_of(label), bars, samples.get(label, []))


def _image_sizes(report: DataReport) -> str:
    sizes = {size for part in report.splits.values() for size in part.statistics.image_sizes}
    if not sizes:
        return "no images"
    heights, widths = zip(*sizes, strict=True)
    if len(sizes) == 1:
        return f"all images {widths[0]} x {heights[0]}"
    return f"images from {min(widths)} to {max(widths)} wide and from {min(heights)} to {max(heights)} high"
