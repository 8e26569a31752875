"""Measurements of the losses as data, as tables, and as a figure like Fig. S.2 of the paper."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from brs_detr.errors import UserError
from brs_detr.report.figure import INK, colour_of, new_figure, style_axes
from measuring.results import console_table, markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

SHORT_NAMES = {
    "loop": "loop",
    "bucketed_matrix": "matrices",
    "bucketed": "bucketed",
    "exact": "exact",
    "focal": "focal",
    "bce": "BCE",
}
RATIOS = (("loop", "bucketed"), ("bucketed_matrix", "bucketed"), ("exact", "bucketed"), ("exact", "focal"))
NOTHING = "-"


@dataclass(frozen=True)
class Record:
    """Time, memory and operations of one implementation at one size.

    Args:
        suite: ``paper`` or ``co-detr``.
        name: name of the size, unique within its suite.
        num_logits: logits of all rows together.
        num_positives: positives of all rows together.
        num_rows: losses that one call computes.
        num_classes: logits per box.
        implementation: a key of `measuring.problems.IMPLEMENTATIONS`.
        repeats: number of timed calls, 0 if there is no time.
        median_s: median seconds of forward and backward; None if it was skipped.
        peak_extra_bytes: peak memory beyond the input; None if it was skipped.
        operations: by the cost model of `measuring.operations.OperationCounter`; None if it was skipped.
        minimum_bytes: bytes that any of these losses must move: logits and targets twice, the gradient once.
        bytes_per_s: ``minimum_bytes / median_s``, to compare with ``copy_bytes_per_s`` of the environment.
        skipped: why it was not measured, or None.
    """

    suite: str
    name: str
    num_logits: int
    num_positives: int
    num_rows: int
    num_classes: int
    implementation: str
    repeats: int
    median_s: float | None
    peak_extra_bytes: int | None
    operations: int | None
    minimum_bytes: int
    bytes_per_s: float | None
    skipped: str | None


@dataclass(frozen=True)
class BenchResult:
    """Result of `benchmarks/losses.py`: environment and records."""

    environment: dict[str, Any]
    records: list[Record]


def read_result(path: Path) -> BenchResult:
    """Read a result of `benchmarks/losses.py`.

    Raises:
        UserError: the file does not exist, or is not such a result.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot open the result {path}: {error.strerror}.") from error
    except ValueError as error:
        raise _not_a_result(path, f"it is not JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("environment"), dict):
        raise _not_a_result(path, "it has no object 'environment'")
    records = content.get("records")
    if not isinstance(records, list) or not records:
        raise _not_a_result(path, "it has no list 'records'")
    return BenchResult(content["environment"], [_record(entry, path, index) for index, entry in enumerate(records)])


def _record(entry: Any, path: Path, index: int) -> Record:
    names = {field.name for field in fields(Record)}
    if not isinstance(entry, dict) or not names <= entry.keys():
        missing = sorted(names - entry.keys()) if isinstance(entry, dict) else sorted(names)
        raise _not_a_result(path, f"record {index} has no {missing[0]!r}")
    return Record(**{name: entry[name] for name in names})


def _not_a_result(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a result of `benchmarks/losses.py`: {reason}.")


class Quantity(NamedTuple):
    """Quantity of a table.

    Args:
        title: title with the unit.
        value: returns the value of a record, None if it was not measured.
        has_ratios: whether ratios of implementations make sense.
    """

    title: str
    value: Callable[[Record], float | None]
    has_ratios: bool = True


QUANTITIES = {
    "time": Quantity("Forward and backward, median ms", lambda record: _times(record.median_s, 1e3)),
    "memory": Quantity("Peak memory beyond the input, MB", lambda record: _times(record.peak_extra_bytes, 1e-6)),
    "operations": Quantity("Operations, millions", lambda record: _times(record.operations, 1e-6)),
    "bandwidth": Quantity("Least bytes moved / time, GB/s", lambda record: _times(record.bytes_per_s, 1e-9), False),
}


def markdown_table(result: BenchResult, quantity: str = "time") -> str:
    """Make a Markdown table of a quantity, a key of `QUANTITIES`, with the machine above and what was skipped below."""
    copied = result.environment["copy_bytes_per_s"] / 1e9
    beside = f" Copying memory reads and writes {copied:,.1f} GB/s." if quantity == "bandwidth" else ""
    names, ratios, rows = _cells(result, QUANTITIES[quantity])
    lines = [
        [size.name, f"{size.num_logits:,}", f"{size.num_positives:,}", *values, *quotients]
        for size, values, quotients in rows
    ]
    table = markdown(["size", "logits", "positives", *names, *ratios], lines, num_texts=1)
    notes = "".join(f"\n* {note}" for note in skipped(result))
    above = f"{QUANTITIES[quantity].title}; {describe(result)}.{beside}"
    return f"{above}\n\n{table}{notes}".rstrip()


def console_tables(result: BenchResult, quantity: str = "time") -> list[Table]:
    """Make tables for a rich console: one of values and one of ratios."""
    names, ratios, rows = _cells(result, QUANTITIES[quantity])
    values = [[size.name, *values] for size, values, _ in rows]
    quotients = [[size.name, *quotients] for size, _, quotients in rows]
    tables = [console_table(["size", *names], values, 1, QUANTITIES[quantity].title)]
    return tables + [console_table(["size", *ratios], quotients, 1, f"Ratios of the {quantity}")] * bool(ratios)


def skipped(result: BenchResult) -> list[str]:
    """Return one line for each record that was not measured."""
    return [
        f"{SHORT_NAMES[record.implementation]} at {record.name}: {record.skipped}"
        for record in result.records
        if record.skipped
    ]


def describe(result: BenchResult) -> str:
    """Describe machine, versions and dtype in one phrase."""
    environment = result.environment
    number = environment["num_threads"]
    threads = f" ({number} thread{'s' * (number > 1)})" if environment["device"] == "cpu" else ""
    return f"{environment['device_name']}{threads}, PyTorch {environment['torch']}, {environment['dtype']}"


def _cells(
    result: BenchResult, quantity: Quantity
) -> tuple[list[str], list[str], list[tuple[Record, list[str], list[str]]]]:
    """Return the headings of values and ratios and, for each size, one of its records and the text of both."""
    found = {record.implementation for record in result.records}
    measured = [name for name in SHORT_NAMES if name in found]
    ratios = [pair for pair in RATIOS if quantity.has_ratios and set(pair) <= found]
    sizes: dict[tuple[str, str], dict[str, Record]] = {}
    for record in result.records:
        sizes.setdefault((record.suite, record.name), {})[record.implementation] = record
    rows = []
    for records in sizes.values():
        numbers = {name: quantity.value(record) for name, record in records.items()}
        values = [_digits(numbers.get(name)) for name in measured]
        quotients = [_quotient(numbers.get(above), numbers.get(below)) for above, below in ratios]
        rows.append((next(iter(records.values())), values, quotients))
    names = [SHORT_NAMES[name] for name in measured]
    return names, [f"{SHORT_NAMES[above]} / {SHORT_NAMES[below]}" for above, below in ratios], rows


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _quotient(above: float | None, below: float | None) -> str:
    return NOTHING if above is None or not below else _digits(above / below)


def _digits(value: float | None) -> str:
    """Format with three significant digits, or with all digits before the point."""
    if value is None:
        return NOTHING
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2 if value >= 0.9995 else 3
    return f"{value:,.{decimals}f}"


class _Style(NamedTuple):
    label: str
    colour: str
    marker: str
    width: float = 1.6


_STYLES = {  # in drawing order: our two nearly coincide, and the narrow line lies on the wide one
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
        path: file to write; its suffix is the format.

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
    """Raise a UserError unless the suffix is a known image format."""
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix.lstrip(".").lower() not in formats:
        raise UserError(f"{path} has no known image suffix.", "Choose FILE.png, FILE.svg or FILE.pdf.")


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
