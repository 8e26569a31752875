"""Figures of a dataset: sizes, shapes and positions of boxes, and boxes per image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brs_detr.data.checks.box_check import MIN_SIDE
from brs_detr.data.checks.split_statistics import LARGE, SMALL, SplitStatistics
from brs_detr.report.figure import INK, colour_of, inline_svg, new_figure, style_axes

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

    from brs_detr.data.checks.check import DataReport

_SIZE = (4.6, 2.7)  # inches
_LOOKS: dict[str, tuple[int, Any]] = {"train": (1, "-"), "val": (2, (0, (5, 1.5))), "test": (3, (0, (1, 1)))}
_MAX_RATIO = 8.0
_MAX_DOTS = 500


class CheckFigure(NamedTuple):
    """A figure and its caption."""

    svg: Markup
    caption: str


def check_figures(report: DataReport) -> Iterator[CheckFigure]:
    """Yield a figure of each distribution of a dataset; none without boxes."""
    parts = {name: part.statistics for name, part in report.splits.items() if part.statistics.num_boxes}
    if not parts:
        return
    long, short = max(report.resized_to), min(report.resized_to)
    resized = f"box size after resizing to {long} x {short}"
    yield _figure("box size", _draw_sizes, parts, "Square root of the area. COCO measures AP by these sizes.")
    yield _figure(resized, _draw_resized, parts, "What the model sees: images are resized to the largest that fits.")
    yield _figure("boxes per image", _draw_counts, parts, "Crowds do not count.")
    yield _figure("aspect ratio, width : height", _draw_ratios, parts, "Ratios above 8 count as 8.")
    if len({size for part in parts.values() for size in part.image_sizes}) > 1:
        yield _figure("image sizes", _draw_image_sizes, parts, "The area of a dot grows with the number of images.")
    positions = "The darker, the more boxes cover a point; all images are stretched to one size."
    yield _figure("box positions", _draw_coverage, parts, positions)


def _figure(
    title: str,
    draw: Callable[[Axes, Mapping[str, SplitStatistics]], None],
    parts: dict[str, SplitStatistics],
    caption: str,
) -> CheckFigure:
    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    style_axes(axes, title)
    draw(axes, parts)
    return CheckFigure(inline_svg(figure, title), caption)


def _draw_sizes(axes: Axes, parts: Mapping[str, SplitStatistics]) -> None:
    values = {name: part.box_sides for name, part in parts.items()}
    _log_histogram(axes, values)
    low, high = axes.get_xlim()
    for name, start, end in (("small", low, SMALL), ("medium", SMALL, LARGE), ("large", LARGE, high)):
        start, end = max(start, low), min(end, high)
        if start < end:
            _mark_range(axes, name, start, end, low)


def _draw_resized(axes: Axes, parts: Mapping[str, SplitStatistics]) -> None:
    _log_histogram(axes, {name: part.resized_box_sides for name, part in parts.items()})
    low, _ = axes.get_xlim()
    if low < MIN_SIDE:
        _mark_range(axes, "tiny", low, MIN_SIDE, low)


def _draw_ratios(axes: Axes, parts: Mapping[str, SplitStatistics]) -> None:
    ratios = {name: np.clip(part.aspect_ratios, 1 / _MAX_RATIO, _MAX_RATIO) for name, part in parts.items()}
    _histogram(axes, ratios, np.geomspace(1 / _MAX_RATIO, _MAX_RATIO, 43))
    axes.set_xscale("log")
    ticks = {1 / 8: "1:8", 1 / 4: "1:4", 1 / 2: "1:2", 1: "1:1", 2: "2:1", 4: "4:1", 8: "8:1"}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()


def _draw_counts(axes: Axes, parts: Mapping[str, SplitStatistics]) -> None:
    counts = {name: part.boxes_per_image for name, part in parts.items()}
    most = max(int(count.max()) for count in counts.values())
    step = max(1, round(most / 40))
    _histogram(axes, counts, np.arange(0, most + step + 1, step) - 0.5, "share of images")
    axes.locator_params(axis="x", integer=True)


def _draw_image_sizes(axes: Axes, parts: Mapping[str, SplitStatistics]) -> None:
    sizes = sum((Counter(part.image_sizes) for part in parts.values()), Counter()).most_common(_MAX_DOTS)
    heights, widths = zip(*(size for size, _ in sizes), strict=True)
    counts = np.array([count for _, count in sizes])
    axes.scatter(widths, heights, s=20 + 280 * counts / counts.max(), color=_colour("train"), alpha=0.5, linewidths=0)
    largest = 1.1 * max(*heights, *widths)
    axes.set_xlim(0, largest)
    axes.set_ylim(0, largest)
    axes.set_xlabel("width in pixels", color=INK)
    axes.set_ylabel("height in pixels", color=INK)


def _draw_coverage(axes: Axes, parts: Mapping[str, SplitStatistics]) -> None:
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    blue = to_rgb(_colour("train"))
    shades = LinearSegmentedColormap.from_list("coverage", [(*blue, 0.0), (*blue, 1.0)])
    total = sum(part.coverage * part.num_boxes for part in parts.values())
    axes.imshow(total, cmap=shades, extent=(0, 1, 1, 0), aspect=0.6, interpolation="nearest", vmin=0)
    axes.grid(visible=False)
    axes.set_xticks([0.05, 0.5, 0.95], ["left", "middle", "right"])
    axes.set_yticks([0.05, 0.5, 0.95], ["top", "middle", "bottom"])


def _log_histogram(axes: Axes, values: Mapping[str, NDArray[np.float64]]) -> None:
    """Draw histograms of pixels with logarithmic bins."""
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    every = np.concatenate(list(values.values()))
    low, high = float(every.min()) * 0.9, float(every.max()) * 1.1
    _histogram(axes, values, np.geomspace(low, high, 49))
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    ticks = [tick for power in (1, 10, 100, 1000, 10000) for tick in (power, 2 * power, 5 * power) if low < tick < high]
    axes.set_xticks(ticks)
    axes.set_xlabel("pixels", color=INK)


def _histogram(
    axes: Axes, values: Mapping[str, NDArray[Any]], edges: NDArray[Any], y_label: str = "share of boxes"
) -> None:
    """Draw the histogram of each split as an outline, in shares of its own total."""
    for name, numbers in values.items():
        shares = np.histogram(numbers, edges)[0] / max(len(numbers), 1)
        label, dashes = _LOOKS.get(name, _LOOKS["train"])
        axes.stairs(shares, edges, color=colour_of(label), linestyle=dashes, linewidth=1.8, label=name)
        if name in ("train", "all"):
            axes.stairs(shares, edges, color=colour_of(label), fill=True, alpha=0.18)
    axes.set_ylim(0)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_ylabel(y_label, color=INK)
    _add_legend(axes, len(values))


def _mark_range(axes: Axes, name: str, start: float, end: float, low: float) -> None:
    if start > low:
        axes.axvline(start, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
    if name == "tiny":
        axes.axvline(end, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
    middle = float(np.sqrt(start * end))
    axes.text(middle, 0.98, name, transform=axes.get_xaxis_transform(), color=INK, ha="center", va="top", fontsize=8)


def _add_legend(axes: Axes, num_splits: int) -> None:
    if num_splits > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper right")


def _colour(split: str) -> str:
    return colour_of(_LOOKS.get(split, _LOOKS["train"])[0])
