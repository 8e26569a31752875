"""The course of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brs_detr.report.curves import smooth
from brs_detr.report.figure import INK, colour_of, new_figure, style_axes
from brs_detr.report.loss_groups import sum_losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def loss_figure(rows: Rows) -> Figure:
    """Losses by head over the iterations, smoothed.

    Args:
        rows: of a training, each with `iteration` and losses by name in the log.
    """
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    steps = [row["iteration"] for row in rows]
    sums = [sum_losses({name: value for name, value in row.items() if isinstance(value, float)}) for row in rows]
    heads = list(dict.fromkeys(head for of_row in sums for head in of_row))
    for place, head in enumerate(heads):
        values = [sum(of_row.get(head, {}).values()) for of_row in sums]
        axes.plot(steps, smooth(values), color=colour_of(place), linewidth=1.6, label=head)
    style_axes(axes, "losses by head", "iteration")
    axes.set_xlim(0, 1.02 * max([1, *steps]))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8)
    return figure


def metric_figure(rows: Rows, best_epoch: int | None) -> Figure:
    """AP, AP50 and AP75 of the evaluations over the epochs.

    Args:
        rows: of the evaluations, each with `epoch`, `AP`, `AP50` and `AP75`.
        best_epoch: is marked.
    """
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    epochs = [row["epoch"] for row in rows]
    for place, name in enumerate(("AP50", "AP75", "AP")):
        values = np.array([row.get(name, np.nan) for row in rows], float)
        _line(axes, epochs, np.where(values < 0, np.nan, values), name, place)
    if best_epoch:
        axes.axvline(best_epoch, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    style_axes(axes, "validation", "epoch")
    axes.set(xlim=(0, 1.02 * max([1, *epochs])), ylim=(0, 1.08))
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left", ncols=3)
    return figure


def learning_rate_figure(rows: Rows) -> Figure:
    """Learning rate and the norm of the gradient over the iterations."""
    figure = new_figure(6.4, 2.6)
    left, right = figure.subplots(1, 2)
    steps = [row["iteration"] for row in rows]
    left.plot(steps, [row.get("lr", np.nan) for row in rows], color=colour_of(3), linewidth=1.6)
    style_axes(left, "learning rate", "iteration")
    right.plot(steps, smooth([row.get("grad_norm", np.nan) for row in rows]), color=colour_of(4), linewidth=1.6)
    style_axes(right, "norm of the gradient", "iteration")
    right.set_ylim(bottom=0)
    return figure


def _line(axes: Axes, x: Sequence[int], y: np.ndarray, name: str, place: int) -> None:
    axes.plot(x, y, color=colour_of(place), linewidth=1.8, marker="o", markersize=3, label=name, clip_on=False)
