"""Figures of an analysis of detections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from brs_detr.analysis.confusion import ConfusionMatrix
from brs_detr.analysis.curves import PRCurve, ThresholdCurves
from brs_detr.analysis.error_types import ErrorType
from brs_detr.analysis.score_measures import Reliability
from brs_detr.report.figure import GRID, INK, colour_of, drawn_name, new_figure, style_axes
from brs_detr.report.tables import threshold_text
from brs_detr.runtime.calibration import Thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CURVES = 8
MOST_CELLS = 25  # classes; with more, the counts would be too small to read


def pr_figure(curves: Sequence[PRCurve]) -> Figure:
    """Plot precision by recall at IoU 0.5 of all classes and of the first few."""
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for index, curve in enumerate(curves[1 : MOST_CURVES + 1]):
        axes.plot(curve.recall, curve.precision50, color=colour_of(index), linewidth=1.2, label=drawn_name(curve.name))
    axes.plot(curves[0].recall, curves[0].precision50, color=INK, linewidth=2.4, label="all classes")
    style_axes(axes, "precision by recall, IoU 0.5", "recall", "precision")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower left")
    return figure


def threshold_figure(curves: ThresholdCurves, thresholds: Thresholds) -> Figure:
    """Plot precision, recall and F1 by threshold, and mark the threshold in use if all classes share it."""
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    lines = {"precision": curves.precision, "recall": curves.recall, "F1": curves.f1}
    for index, (name, values) in enumerate(lines.items()):
        axes.plot(curves.scores, values, color=colour_of(index), linewidth=2.2 if name == "F1" else 1.4, label=name)
    if not isinstance(thresholds, tuple):
        axes.axvline(thresholds, color=INK, linewidth=1, linestyle=(0, (3, 3)))
        axes.annotate(f" {thresholds:.3f}", (thresholds, 1.0), color=INK, fontsize=9, va="top", annotation_clip=False)
    style_axes(axes, "effect of the threshold", "threshold")
    axes.set(xlim=(0, _upper(curves)), ylim=(0, 1.02))
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower right")
    return figure


def _upper(curves: ThresholdCurves) -> float:
    """Return the end of the score axis; a ranking loss may leave all scores small."""
    highest = float(curves.scores[-1]) if len(curves.scores) else 1.0
    return min(1.0, max(1.05 * highest, 1.5 * curves.recommended))


def confusion_figure(confusion: ConfusionMatrix) -> Figure:
    """Draw the share of each row as a heat map, with the counts if there is room."""
    size = len(confusion.names) + 1
    side = min(8.0, 2.6 + 0.45 * size)
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    totals = confusion.counts.sum(1, keepdims=True)
    shares = confusion.counts / np.maximum(totals, 1)
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("share", ["#ffffff00", colour_of(1)])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, aspect="auto")
    style_axes(
        axes, f"score at least {threshold_text(confusion.thresholds)}, IoU {confusion.iou:g}", "detected as", "is"
    )
    axes.grid(visible=False)
    if size - 1 <= MOST_CELLS:
        names = [drawn_name(name) for name in confusion.names]
        axes.set_xticks(range(size), [*names, "missed"], rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(size), [*names, "nothing"])
        for row, column in zip(*np.nonzero(confusion.counts), strict=True):
            axes.text(column, row, str(confusion.counts[row, column]), ha="center", va="center", color=INK, fontsize=8)
    return figure


def reliability_figure(raw: Reliability, calibrated: Reliability | None = None) -> Figure:
    """Plot precision by mean score, before and after calibration.

    The area of a dot shows the number of detections, the line through it the 95 % confidence interval.
    """
    parts = [("raw scores", raw), *([("calibrated scores", calibrated)] if calibrated else [])]
    figure = new_figure(0.4 + 4.4 * len(parts), 4.2)
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    for index, (axes, (title, part)) in enumerate(zip(panels, parts, strict=True)):
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.5)
        _draw_reliability(axes, part, colour_of(index), 300)
        style_axes(axes, title, "mean score", "" if index else "precision")
        axes.set(xlim=(0, 1.02 * part.edges[-1]), ylim=(0, 1.02))
    return figure


def class_reliability_figure(raw: Mapping[str, Reliability], calibrated: Mapping[str, Reliability]) -> Figure:
    """Plot precision by mean score for each class, raw and calibrated in one panel.

    Args:
        raw: by name of the classes to show.
        calibrated: by class name.
    """
    columns = min(4, len(raw))
    rows = -(-len(raw) // columns)
    figure = new_figure(2.5 * columns + 0.3, 2.4 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, name in zip(panels, raw, strict=False):
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.5)
        _draw_reliability(axes, raw[name], colour_of(0), 80, "raw")
        _draw_reliability(axes, calibrated[name], colour_of(1), 80, "calibrated")
        style_axes(axes, "")
        axes.set_title(drawn_name(name, 24), loc="left", color=INK, fontsize=9)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    for above, axes in zip(panels[len(raw) - columns :], panels[len(raw) :], strict=False):
        above.tick_params(labelbottom=True)
        axes.set_visible(False)
    panels[0].legend(frameon=False, labelcolor=INK, fontsize=7, loc="upper left", markerscale=0.6)
    figure.supxlabel("mean score", color=INK, fontsize=9)
    figure.supylabel("precision", color=INK, fontsize=9)
    return figure


def _draw_reliability(axes: Axes, part: Reliability, colour: str, largest: float, label: str = "") -> None:
    is_filled = part.counts > 0
    x, y = part.mean_score[is_filled], part.precision[is_filled]
    counts = part.counts[is_filled]
    axes.vlines(x, part.lowest[is_filled], part.highest[is_filled], color=colour, linewidth=1, alpha=0.5)
    axes.plot(x, y, color=colour, linewidth=1.2)
    sizes = largest / 15 + largest * counts / max(int(counts.max(initial=0)), 1)
    axes.scatter(x, y, s=sizes, color=colour, alpha=0.6, label=label, linewidth=0)


def error_figure(errors: Sequence[ErrorType]) -> Figure:
    """Plot the AP50 lost to each type of error."""
    figure = new_figure(6.4, 2.9)
    axes = figure.subplots()
    names = [error.name for error in errors][::-1]
    lost = [100 * error.lost_AP50 for error in errors][::-1]
    axes.barh(names, lost, color=colour_of(2), height=0.62)
    for index, value in enumerate(lost):
        offset: Any = {"xytext": (4, 0), "textcoords": "offset points"}
        axes.annotate(f"{value:.1f}", (value, index), **offset, va="center", color=INK, fontsize=8)
    style_axes(axes, "AP50 lost to each type of error", "percentage points")
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, max(1.15 * max(lost, default=0), 1))
    return figure
