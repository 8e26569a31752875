"""What came of loading weights, as a table for the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brs_detr.checkpoints.load_weights import LoadAccount

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = {"loaded": "loaded", "re-made": "remade", "unused": "unused", "missing": "missing"}


def load_table(account: LoadAccount) -> Table:
    """One row for each part of the model: how many values, and of how many tensors."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("values (tensors)")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for row in load_rows(account):
        table.add_row(*map(Text, row))
    return table


def load_rows(account: LoadAccount) -> list[list[str]]:
    """The cells of the table, without its head."""
    columns = [getattr(account, name) for name in _COLUMNS.values()]
    parts = dict.fromkeys(_part(name) for column in columns for name in column)
    return [
        [part, *(_cell([num for name, num in column.items() if _part(name) == part]) for column in columns)]
        for part in parts
    ]


def remade_layers(account: LoadAccount) -> list[str]:
    """Names of the layers that were re-made, without `weight` and `bias`."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in account.remade))


def _part(name: str) -> str:
    return name.split(".")[0]


def _cell(sizes: list[int]) -> str:
    return f"{_short(sum(sizes))} ({len(sizes)})" if sizes else "-"


def _short(number: int) -> str:
    for unit, limit in (("M", 10**6), ("k", 10**3)):
        if number >= limit:
            return f"{number / limit:.1f} {unit}"
    return str(number)
