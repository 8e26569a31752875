"""What the losses cost against the number of logits, as a picture (after Fig. S.2 of the paper)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from brs_detr.bench.results import BenchResult, Record
from brs_detr.bench.table import describe
from brs_detr.errors import UserError
from brs_detr.report.figure import INK, colour_of, new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Style(NamedTuple):
    label: str
    colour: str
    marker: str
    width: float = 1.6


_STYLES = {  # in the order of drawing: the two of ours nearly coincide, the narrow one lies on the wide one
    "loop": _Style("RS Loss, loop", colour_of(2), "s"),
    "bucketed_matrix": _Style("bucketed, matrices", colour_of(0), "D"),
    "exact": _Style("exact (ours)", colour_of(3), "o", 3.8),
    "bucketed": _Style("bucketed (ours)", colour_of(1), "o"),
    "focal": _Style("focal loss", colour_of(4), "^"),
    "bce": _Style("BCE", "#6b7280", "v"),
}


def plot_losses(result: BenchResult, path: str | Path) -> None:
    """Draw time and counted operations against the number of logits, one column for each share of positives.

    Args:
        result: with records of the paper's grid; others are left out.
        path: picture to write, in a format that its suffix names.

    Raises:
        UserError: nothing of the paper's grid was measured, or the format is unknown.
    """
    require_picture(path)
    columns = _by_percentage(result)
    figure = new_figure(1.2 + 2.7 * len(columns), 6.6)
    grid = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    for (above, below), (percentage, records) in zip(grid.T, columns.items(), strict=True):
        is_first = above is grid[0, 0]
        style_axes(above, f"{percentage:g} % positives", "", "time" if is_first else "")
        style_axes(below, "", "logits", "operations" if is_first else "")
        _plot(above, records, "median_s", "s")
        _plot(below, records, "operations", "")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), frameon=False, labelcolor=INK)
    figure.suptitle(
        f"One loss, forward and backward: {describe(result)}",
        x=0.01,
        ha="left",
        color=INK,
        fontsize=11,
        fontweight="bold",
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def require_picture(path: str | Path) -> None:
    """Raise a UserError unless the suffix names a format that can be drawn."""
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix.lstrip(".").lower() not in formats:
        raise UserError(f"{path} names no format of a picture.", "Choose FILE.png, FILE.svg or FILE.pdf.")


def _by_percentage(result: BenchResult) -> dict[float, list[Record]]:
    columns: dict[float, list[Record]] = {}
    for record in result.records:
        if record.suite == "paper":
            columns.setdefault(100 * record.num_positives / record.num_logits, []).append(record)
    if not columns:
        raise UserError("The result holds nothing of the paper's grid.", "Measure it with --suite paper.")
    return dict(sorted(columns.items()))


def _plot(axes: Axes, records: list[Record], quantity: str, unit: str) -> None:
    from matplotlib.ticker import EngFormatter

    for name, style in _STYLES.items():
        _plot_line(axes, [record for record in records if record.implementation == name], quantity, style)
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(EngFormatter(unit))
    axes.minorticks_off()
    axes.margins(x=0.08)


def _plot_line(axes: Axes, records: list[Record], quantity: str, style: _Style) -> None:
    values = {record.num_logits: getattr(record, quantity) for record in records}
    points = sorted((num_logits, value) for num_logits, value in values.items() if value is not None)
    if not points:
        return
    axes.plot(
        *zip(*points, strict=True),
        color=style.colour,
        label=style.label,
        linewidth=style.width,
        marker=style.marker,
        markersize=3.5 + style.width,
    )
    if max(values) > points[-1][0]:
        axes.annotate("does not fit", points[-1], (6, 3), textcoords="offset points", color=style.colour, fontsize=9)
