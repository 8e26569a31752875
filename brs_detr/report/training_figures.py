"""Figures of a training run: losses, metrics, learning rate and gradient norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brs_detr.report.figure import INK, colour_of, new_figure, style_axes
from brs_detr.report.live import sum_losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def plot_curves(rows: Rows, path: str | Path, title: str = "") -> None:
    """Draw losses by head beside the AP of the evaluations.

    Args:
        rows: rows of `metrics.csv` from `brs_detr.run.run_folder.read_numbers`; may be empty.
        path: file to write; its suffix is the format.
        title: title of the figure.
    """
    figure = new_figure(10, 3.8)
    left, right = figure.subplots(1, 2)
    _draw_losses(left, [row for row in rows if "loss" in row])
    _draw_metrics(right, [row for row in rows if "AP" in row])
    if title:
        figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11, fontweight="bold")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def loss_figure(rows: Rows) -> Figure:
    """Plot the smoothed losses by head over the iterations.

    Args:
        rows: training rows, each with `iteration` and the losses by their names in the log.
    """
    figure = new_figure(6.4, 4.2)
    _draw_losses(figure.subplots(), rows)
    return figure


def metric_figure(rows: Rows, best_epoch: int | None) -> Figure:
    """Plot AP, AP50 and AP75 over the epochs.

    Args:
        rows: evaluation rows, each with `epoch`, `AP`, `AP50` and `AP75`.
        best_epoch: epoch to mark.
    """
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    _draw_metrics(axes, rows)
    if best_epoch:
        axes.axvline(best_epoch, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    return figure


def learning_rate_figure(rows: Rows) -> Figure:
    """Plot learning rate and gradient norm over the iterations."""
    figure = new_figure(6.4, 2.6)
    left, right = figure.subplots(1, 2)
    steps = [row["iteration"] for row in rows]
    left.plot(steps, [row.get("lr", np.nan) for row in rows], color=colour_of(3), linewidth=1.6)
    style_axes(left, "learning rate", "iteration")
    right.plot(steps, smooth([row.get("grad_norm", np.nan) for row in rows]), color=colour_of(4), linewidth=1.6)
    style_axes(right, "gradient norm", "iteration")
    right.set_ylim(bottom=0)
    return figure


def smooth(values: ArrayLike, weight: float = 0.8) -> NDArray[np.float64]:
    """Compute the bias-corrected exponential moving average, skipping values that are not finite.

    Args:
        values: [N] in chronological order.
        weight: weight of the past, in [0, 1).

    Returns:
        [N] averages, NaN before the first finite value.
    """
    total = norm = 0.0
    means = []
    for value in np.asarray(values, dtype=float).tolist():
        if np.isfinite(value):
            total, norm = weight * total + (1 - weight) * value, weight * norm + (1 - weight)
        means.append(total / norm if norm else np.nan)
    return np.array(means)


def _draw_losses(axes: Axes, rows: Rows) -> None:
    steps = [row["iteration"] for row in rows]
    sums = [sum_losses({name: value for name, value in row.items() if isinstance(value, float)}) for row in rows]
    for label, head in enumerate(dict.fromkeys(head for of_row in sums for head in of_row)):
        values = smooth([sum(of_row.get(head, {}).values()) for of_row in sums])
        marker = "o" if len(steps) == 1 else ""
        axes.plot(steps, values, color=colour_of(label), linewidth=1.6, label=head, marker=marker)
    _finish(axes, "losses by head", "iteration", steps)
    axes.set_ylim(bottom=0)


def _draw_metrics(axes: Axes, rows: Rows) -> None:
    epochs = [row["epoch"] for row in rows]
    for label, name in enumerate(("AP50", "AP75", "AP")):
        values = np.array([row.get(name, np.nan) for row in rows], float)
        values[values < 0] = np.nan
        axes.plot(epochs, values, color=colour_of(label), label=name, linewidth=1.8, marker="o", ms=3, clip_on=False)
    _finish(axes, "validation", "epoch", epochs)
    axes.set_ylim(0, 1.08)


def _finish(axes: Axes, title: str, x_label: str, steps: Sequence[int]) -> None:
    style_axes(axes, title, x_label)
    axes.set_xlim(0, 1.02 * max([1, *steps]))
    axes.locator_params(axis="x", integer=True)
    if steps:
        axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="best")
    else:
        axes.text(0.5, 0.5, "nothing recorded", transform=axes.transAxes, ha="center", va="center", color="#9aa0a6")
