"""What a check found, as tables for the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brs_detr.data.findings import SEVERITIES, Severity
from brs_detr.printable import for_terminal, short_name

if TYPE_CHECKING:
    from rich.table import Table

    from brs_detr.data.checks.data_report import DataReport

_MAX_CLASSES = 100  # rows of a table for the console
_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def findings_table(report: DataReport) -> Table:
    """One row for each finding: how bad, where, how many; what, the first example, and the cure."""
    from rich.text import Text

    table = _new_table("", "split", "count", "finding, first example, cure")
    for split, finding in report.placed_findings:
        kind = finding.kind
        text = Text.assemble((kind.what, "bold"), "\n", for_terminal(finding.examples[0]), "\n", (kind.cure, "italic"))
        table.add_row(Text(kind.severity, style=_STYLES[kind.severity]), split or "all", finding.amount, text)
        table.add_section()
    return table


def class_table(report: DataReport) -> Table:
    """Boxes and images of each class in each split, of many classes the first ones."""
    from rich.text import Text

    table = _new_table("class", *report.splits)
    for column in table.columns[1:]:
        column.justify = "right"
    statistics = [part.statistics for part in report.splits.values()]
    for label, name in enumerate(report.class_names[:_MAX_CLASSES]):
        table.add_row(Text(short_name(name)), *(str(part.boxes_by_class[label]) for part in statistics))
    if len(report.class_names) > _MAX_CLASSES:
        table.add_row(f"and {len(report.class_names) - _MAX_CLASSES} more classes, on the page")
    table.add_section()
    table.add_row("boxes", *(str(part.num_boxes) for part in statistics))
    table.add_row("images", *(str(part.num_images) for part in statistics))
    table.add_row("images without any object", *(str(part.num_empty_images) for part in statistics))
    return table


def verdict(report: DataReport) -> str:
    """The outcome in one line."""
    counts = {severity: len(report.of_severity(severity)) for severity in SEVERITIES}
    others = f"{_counted(counts['warning'], 'warning')}, {_counted(counts['note'], 'note')}."
    if counts["error"] == 0:
        return f"No errors: ready to train. {others}"
    errors = _counted(counts["error"], "error")
    if report.is_trainable:
        return f"{errors} in test: training goes on, measuring on test will be refused. {others}"
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
