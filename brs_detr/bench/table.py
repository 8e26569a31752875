"""Measurements as a table, on the console and in the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from brs_detr.bench.results import BenchResult, Record

if TYPE_CHECKING:
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


class Quantity(NamedTuple):
    """What a table shows.

    Args:
        title: with the unit.
        value: of a record, None where it was not measured.
        has_ratios: whether quotients of implementations say something.
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


class _Row(NamedTuple):
    records: dict[str, Record]
    values: list[str]
    quotients: list[str]


def markdown_table(result: BenchResult, quantity: str = "time") -> str:
    """The table in Markdown, with the machine above it and what was skipped below.

    Args:
        result: of a run.
        quantity: a key of `QUANTITIES`.
    """
    names, ratios = _columns(result, QUANTITIES[quantity])
    header = ["size", "logits", "positives", *names, *ratios]
    lines = [f"{QUANTITIES[quantity].title}; {describe(result)}.{_beside(result, quantity)}", ""]
    lines += [_line(header), _line([":--", *["--:"] * (len(header) - 1)])]
    for row in _rows(result, QUANTITIES[quantity]):
        size = next(iter(row.records.values()))
        lines.append(_line([size.name, f"{size.num_logits:,}", f"{size.num_positives:,}", *row.values, *row.quotients]))
    notes = [f"* {note}" for note in skipped(result)]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def console_tables(result: BenchResult, quantity: str = "time", framed: bool = True) -> list[Table]:
    """The same for rich, as one table of values and one of quotients.

    Args:
        result: of a run.
        quantity: a key of `QUANTITIES`.
        framed: draw lines around the cells.
    """
    names, ratios = _columns(result, QUANTITIES[quantity])
    rows = list(_rows(result, QUANTITIES[quantity]))
    tables = [_console_table(QUANTITIES[quantity].title, names, rows, [row.values for row in rows], framed)]
    if ratios:
        title = f"Quotients of the {quantity}"
        tables.append(_console_table(title, ratios, rows, [row.quotients for row in rows], framed))
    return tables


def skipped(result: BenchResult) -> list[str]:
    """One line for each record that was not measured."""
    return [
        f"{SHORT_NAMES[record.implementation]} at {record.name}: {record.skipped}"
        for record in result.records
        if record.skipped
    ]


def describe(result: BenchResult) -> str:
    """Machine, versions and dtype in one phrase."""
    environment = result.environment
    number = environment["num_threads"]
    threads = f" ({number} thread{'s' * (number > 1)})" if environment["device"] == "cpu" else ""
    return f"{environment['device_name']}{threads}, PyTorch {environment['torch']}, {environment['dtype']}"


def by_size(result: BenchResult) -> dict[tuple[str, str], dict[str, Record]]:
    """Records by suite and name of the size, then by implementation, in the order of the run."""
    sizes: dict[tuple[str, str], dict[str, Record]] = {}
    for record in result.records:
        sizes.setdefault((record.suite, record.name), {})[record.implementation] = record
    return sizes


def _beside(result: BenchResult, quantity: str) -> str:
    """What bandwidths are to be compared with."""
    copied = result.environment["copy_bytes_per_s"] / 1e9
    return f" Copying memory reads and writes {copied:,.1f} GB/s." if quantity == "bandwidth" else ""


def _columns(result: BenchResult, quantity: Quantity) -> tuple[list[str], list[str]]:
    """Headings of the values and of the quotients."""
    names = [SHORT_NAMES[name] for name in _measured(result)]
    return names, [f"{SHORT_NAMES[above]} / {SHORT_NAMES[below]}" for above, below in _ratios(result, quantity)]


def _rows(result: BenchResult, quantity: Quantity) -> Iterator[_Row]:
    """Text of all cells, one row a size."""
    for records in by_size(result).values():
        numbers = {name: quantity.value(record) for name, record in records.items()}
        yield _Row(
            records,
            [_digits(numbers.get(name)) for name in _measured(result)],
            [_quotient(numbers.get(above), numbers.get(below)) for above, below in _ratios(result, quantity)],
        )


def _measured(result: BenchResult) -> list[str]:
    found = {record.implementation for record in result.records}
    return [name for name in SHORT_NAMES if name in found]


def _ratios(result: BenchResult, quantity: Quantity) -> list[tuple[str, str]]:
    return [pair for pair in RATIOS if quantity.has_ratios and set(pair) <= set(_measured(result))]


def _console_table(title: str, header: list[str], rows: list[_Row], cells: list[list[str]], framed: bool) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.ROUNDED if framed else None)
    table.add_column("size")
    for name in header:
        table.add_column(name, justify="right")
    for row, texts in zip(rows, cells, strict=True):
        table.add_row(next(iter(row.records.values())).name, *texts)
    return table


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _quotient(above: float | None, below: float | None) -> str:
    return NOTHING if above is None or not below else _digits(above / below)


def _digits(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return NOTHING
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2 if value >= 0.9995 else 3
    return f"{value:,.{decimals}f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
