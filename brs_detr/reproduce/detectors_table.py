"""The rows that compare losses, as a table of the documentation."""

from __future__ import annotations

from brs_detr.reproduce.show import EMPTY
from brs_detr.reproduce.tables import ROWS, Row

DETECTORS_HEAD = ("table", "detector", "backbone", "loss", "config", "published s", "published AP", "command")


def detector_rows() -> list[list[str]]:
    """Rows below `DETECTORS_HEAD`."""
    return [_line(row) for row in ROWS if row.loss]


def _line(row: Row) -> list[str]:
    (table,) = row.tables
    kind = " (masks)" if row.metric == "mask_AP" else ""
    return [
        table.removeprefix("table"),
        row.detector,
        row.backbone,
        row.loss,
        f"[{row.config}](../configs/ranking_losses/{row.config}.py)",
        EMPTY if row.paper_s is None else f"{row.paper_s:.2f}",
        EMPTY if row.paper_ap is None else f"{100 * row.paper_ap:.1f}{kind}",
        f"`brs-detr reproduce {table} --row {row.name}`",
    ]
