"""Loss and AP over the course of a run, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brs_detr.report.figure import INK, colour_of, new_figure, style_axes
from brs_detr.report.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_METRICS = {"AP50": ("AP50", "bbox_mAP_50"), "AP": ("AP", "bbox_mAP")}


def plot_curves(history: History, path: str | Path, title: str = "") -> None:
    """Draw the training loss, raw and smoothed, beside AP and AP50 on the validation split.

    Args:
        history: from `brs_detr.report.history.read_scalars`; either list may be empty.
        path: picture to write, in a format that its suffix names.
        title: a line above both.
    """
    figure = new_figure(10, 3.8)
    left, right = figure.subplots(1, 2)
    _plot_loss(left, history.train)
    _plot_metrics(right, history)
    if title:
        figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11, fontweight="bold")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def smooth(values: ArrayLike, weight: float = 0.8) -> NDArray[np.float64]:
    """Exponential moving mean without the bias towards the start; a value that is not finite is passed over.

    Args:
        values: [N] in the order of time.
        weight: of the past, in [0, 1).

    Returns:
        [N] smoothed values, NaN before the first finite one.
    """
    total = norm = 0.0
    means = []
    for value in np.asarray(values, dtype=float).tolist():
        if np.isfinite(value):
            total, norm = weight * total + (1 - weight) * value, weight * norm + (1 - weight)
        means.append(total / norm if norm else np.nan)
    return np.array(means)


def _plot_loss(axes: Axes, records: list[dict[str, Any]]) -> None:
    steps = [record["step"] for record in records]
    losses = np.array([record["loss"] for record in records], dtype=float)
    colour = colour_of(1)
    axes.plot(steps, losses, color=colour, alpha=0.3, linewidth=1)
    axes.plot(steps, smooth(losses), color=colour, linewidth=2, marker="o" if len(steps) == 1 else "")
    _style(axes, "training loss", "iteration", steps)
    finite = losses[np.isfinite(losses)]
    if finite.size:
        axes.set_ylim(0, 1.05 * float(np.quantile(finite, 0.99)))  # the first losses may be far above the rest
    else:
        _say_nothing_yet(axes)


def _plot_metrics(axes: Axes, history: History) -> None:
    steps = [record["step"] for record in history.val]
    is_by_epoch = any("epoch" in record for record in history.train)
    _style(axes, "validation", "epoch" if is_by_epoch else "iteration", steps)
    axes.set_ylim(0, 1)
    if not steps:
        _say_nothing_yet(axes)
    for place, (name, keys) in enumerate(_METRICS.items()):
        values = [_metric(record, keys) for record in history.val]
        if not np.isfinite(values).any():
            continue
        colour = colour_of(2 - 2 * place)
        axes.plot(steps, values, color=colour, linewidth=2, marker="o", markersize=4, clip_on=False)
        last = int(np.flatnonzero(np.isfinite(values))[-1])
        axes.annotate(
            f"{name} {values[last]:.3f}",
            (steps[last], values[last]),
            xytext=(8, 5 - 10 * place),  # apart, where both are nearly equal
            textcoords="offset points",
            va="center",
            color=colour,
            fontweight="bold",
            annotation_clip=False,
        )


def _metric(record: dict[str, Any], keys: tuple[str, ...]) -> float:
    """A metric of a validation record under any of its names, with or without mmengine's prefix; NaN without it."""
    found = [value for key, value in record.items() if key.rpartition("/")[2] in keys]
    return float(found[0]) if found and found[0] >= 0 else np.nan


def _style(axes: Axes, title: str, x_label: str, steps: list[int]) -> None:
    style_axes(axes, title, x_label)
    axes.set_xlim(0, 1.02 * max([1, *steps]))
    axes.locator_params(axis="x", integer=True)


def _say_nothing_yet(axes: Axes) -> None:
    axes.text(0.5, 0.5, "nothing recorded", transform=axes.transAxes, ha="center", va="center", color="#9aa0a6")
