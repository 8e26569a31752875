"""The result of a check: a page with findings, classes, figures and samples, and tables for the console."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from brs_detr.data.kinds import SEVERITIES, Severity
from brs_detr.files import write_whole
from brs_detr.printable import for_terminal, short_name
from brs_detr.report.check_figures import check_figures
from brs_detr.report.figure import colour_of
from brs_detr.report.mosaic import Sample, class_samples, fault_samples
from brs_detr.report.page import write_page

if TYPE_CHECKING:
    from rich.table import Table

    from brs_detr.data.checks.check import DataReport, PlacedFinding

PAGE, RECORD = "check.html", "check.json"

_MAX_CLASSES = 100  # in the table for the console
_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}


class _Bar(NamedTuple):
    """Boxes of a class in a split, images with them, and length of the bar in [0, 1]."""

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
    """Write `check.html`, a self-contained page, and `check.json`.

    Args:
        report: from `brs_detr.data.checks.check.check_source`.
        folder: folder to write to; it is created if needed.
        version: version of this package.

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


def findings_table(report: DataReport) -> Table:
    """Make a table with one row per finding: severity, split and count; what, the first example, and a hint."""
    from rich.text import Text

    table = _new_table("", "split", "count", "finding, first example, hint")
    for split, finding in report.placed_findings:
        kind = finding.kind
        text = Text.assemble((kind.what, "bold"), "\n", for_terminal(finding.examples[0]), "\n", (kind.cure, "italic"))
        table.add_row(Text(kind.severity, style=_STYLES[kind.severity]), split or "all", finding.amount, text)
        table.add_section()
    return table


def class_table(report: DataReport) -> Table:
    """Make a table of the boxes per class and split, for the first 100 classes, with totals."""
    from rich.text import Text

    table = _new_table("class", *report.splits)
    for column in table.columns[1:]:
        column.justify = "right"
    statistics = [part.statistics for part in report.splits.values()]
    for label, name in enumerate(report.class_names[:_MAX_CLASSES]):
        table.add_row(Text(short_name(name)), *(str(part.boxes_by_class[label]) for part in statistics))
    if len(report.class_names) > _MAX_CLASSES:
        table.add_row(f"{len(report.class_names) - _MAX_CLASSES} more classes are on the page")
    table.add_section()
    table.add_row("boxes", *(str(part.num_boxes) for part in statistics))
    table.add_row("images", *(str(part.num_images) for part in statistics))
    table.add_row("images without objects", *(str(part.num_empty_images) for part in statistics))
    return table


def verdict(report: DataReport) -> str:
    """Summarise the check in one line."""
    counts = {severity: len(report.of_severity(severity)) for severity in SEVERITIES}
    others = f"{_counted(counts['warning'], 'warning')}, {_counted(counts['note'], 'note')}."
    if counts["error"] == 0:
        return f"No errors: ready to train. {others}"
    errors = _counted(counts["error"], "error")
    if report.is_trainable:
        return f"{errors} in test: the data can be used for training, but evaluation on test will be refused. {others}"
    return f"{errors}: training will refuse this data. {others}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _new_table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    return table
