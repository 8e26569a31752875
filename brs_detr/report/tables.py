"""Tables of average precision and of the quality of scores, for the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from brs_detr.analysis.score_measures import MEASURES, ScoreMeasures
from brs_detr.printable import short_name
from brs_detr.runtime.calibration import Thresholds

if TYPE_CHECKING:
    from rich.table import Table

Rows = Mapping[str, Mapping[str, float]]


def ap_table(rows: Rows, overall: Mapping[str, float] | None = None, title: str | None = None) -> Table:
    """Make a table of numbers per class.

    Args:
        rows: by class name, numbers by column name, for example `{"cat": {"AP": 0.41, "AP50": 0.63, "boxes": 210}}`.
            Fractions are shown with three decimals, integers as they are, and -1, NaN or a missing number as a dash.
        overall: numbers of all classes together, for the last row.
        title: title of the table.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    head, *body = _cells(rows, overall)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_footer=overall is not None)
    footer = body.pop() if overall is not None else [""] * len(head)
    for index, (name, total) in enumerate(zip(head, footer, strict=True)):
        table.add_column(Text(name), footer=Text(total), justify="left" if index == 0 else "right")
    for row in body:
        table.add_row(Text(short_name(row[0])), *row[1:])
    return table


def _cells(rows: Rows, overall: Mapping[str, float] | None) -> list[list[str]]:
    """Return the header, one line per class, and the line of all classes if there is one."""
    named = {**rows} if overall is None else {**rows, "all classes": overall}
    columns = list(dict.fromkeys(column for numbers in named.values() for column in numbers))
    lines = [[name, *(_cell(numbers.get(column)) for column in columns)] for name, numbers in named.items()]
    return [["class", *columns], *lines]


def _cell(number: float | None) -> str:
    if number is None or number != number or number == -1:
        return "-"
    return str(number) if isinstance(number, int) else f"{number:.3f}"


def calibration_table(raw: ScoreMeasures, calibrated: ScoreMeasures | None) -> Table:
    """Make a table with one row per measure, for raw and, if there are any, calibrated scores."""
    from rich import box
    from rich.table import Table

    columns = {"raw": raw, **({"calibrated": calibrated} if calibrated else {})}
    table = Table("measure", box=box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="right")
    for key, what in MEASURES.items():
        table.add_row(what, *(_cell(scores.overall[key]) for scores in columns.values()))
    table.add_row("threshold", *(threshold_text(scores.thresholds) for scores in columns.values()))
    return table


def threshold_text(thresholds: Thresholds) -> str:
    """Format a threshold with three decimals, or the range of the thresholds of the classes."""
    if isinstance(thresholds, tuple):
        return f"{min(thresholds):.3f} to {max(thresholds):.3f}, by class"
    return f"{thresholds:.3f}"
