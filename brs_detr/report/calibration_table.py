"""What scores are worth, raw and calibrated, for the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brs_detr.analysis.score_measures import MEASURES, ScoreMeasures
from brs_detr.report.threshold_text import threshold_text

if TYPE_CHECKING:
    from rich.table import Table


def calibration_table(raw: ScoreMeasures, calibrated: ScoreMeasures | None) -> Table:
    """One row for each measure, and one column for each kind of scores that there is."""
    from rich import box
    from rich.table import Table

    columns = {"raw": raw, **({"calibrated": calibrated} if calibrated else {})}
    table = Table("measure", box=box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="right")
    for key, what in MEASURES.items():
        table.add_row(what, *(_cell(scores.overall[key]) for scores in columns.values()))
    table.add_row("shown is what scores at least", *(threshold_text(scores.thresholds) for scores in columns.values()))
    return table


def _cell(number: float) -> str:
    return "-" if number < 0 else f"{number:.3f}"
