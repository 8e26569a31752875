"""Latencies as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.table import Table

HEAD = (
    *("model", "format", "head", "precision", "image", "batch"),
    *("p50 ms", "p90 ms", "p99 ms", "model ms", "images/s", "MiB"),
)
NUM_NAMES = 5  # columns that hold text


def latency_table(records: Iterable[Mapping[str, Any]], *, framed: bool = True) -> Table:
    """Table for a rich console; records are those of `brs_detr.export.latency.Latency`, as dictionaries."""
    table = Table(box=box.SIMPLE_HEAD if framed else None)
    for place, name in enumerate(HEAD):
        table.add_column(name, justify="left" if place < NUM_NAMES else "right", no_wrap=True)
    for record in records:
        table.add_row(*_cells(record))
    return table


def latency_markdown(records: Iterable[Mapping[str, Any]]) -> str:
    """The same in Markdown."""
    lines = [HEAD, [":--"] * NUM_NAMES + ["--:"] * (len(HEAD) - NUM_NAMES), *map(_cells, records)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cells(record: Mapping[str, Any]) -> list[str]:
    size = f"{record['height']} x {record['width']}"
    names = [record["model"], record["format"], record["head"], record["precision"], size, str(record["batch_size"])]
    if record["failure"] is not None:
        return [*names, *["-"] * (len(HEAD) - len(names))]
    times = [record["latency_ms"][name] for name in ("p50", "p90", "p99")] + [record["model_ms"]]
    memory = record["peak_memory_bytes"]
    shown = "-" if memory is None else f"{memory / 2**20:.0f}"
    return [*names, *(f"{time:.0f}" for time in times), f"{record['images_per_s']:.2f}", shown]
