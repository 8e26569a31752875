"""The tables of the paper beside what was reproduced here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from brs_detr.reproduce.ledger import LedgerEntry, judge
from brs_detr.reproduce.tables import TABLES, Row, rows_of

_SHORT = {"AP50": "AP50", "AP75": "AP75", "AP_small": "APs", "AP_medium": "APm", "AP_large": "APl"}
EMPTY = "-"


def tables(entries: Sequence[LedgerEntry], names: Iterable[str] = TABLES) -> list[Table]:
    """One table for each name, AP in percent; rows without a result stay empty."""
    return [_table(name, entries) for name in names]


def _table(name: str, entries: Sequence[LedgerEntry]) -> Table:
    rows = rows_of(name)
    kind = "/".join(dict.fromkeys("mask AP" if row.metric == "mask_AP" else "box AP" for row in rows))
    title = f"Table {name[-1]}: {TABLES[name]} ({kind})"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    has_losses = any(row.loss for row in rows)
    for column in ("row", "detector", "backbone", *["loss"] * has_losses, "epochs"):
        table.add_column(column, no_wrap=True)
    for column in ("paper", "ours", "difference", *_SHORT.values()):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("result of ours")
    for row in rows:
        own = [entry for entry in entries if entry.row == row.name and entry.kind != "smoke"]
        facts = (row.name, row.detector, row.backbone, *[row.loss] * has_losses, str(row.epochs))
        table.add_row(*facts, EMPTY if row.paper_ap is None else f"{100 * row.paper_ap:.1f}", *_cells(row, own))
    return table


def _cells(row: Row, entries: Sequence[LedgerEntry]) -> list[str]:
    trained = _repeats([entry for entry in entries if entry.kind == "trained"])
    chosen = trained or [entry for entry in entries if entry.kind == "released weights"][-1:]
    if not chosen:
        return [EMPTY] * (2 + len(_SHORT)) + [_nothing(row)]
    values = [100 * entry.ap for entry in chosen]
    mean = statistics.mean(values)
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    prefix = row.metric.removesuffix("AP")
    others = [f"{100 * statistics.mean(entry.metrics[prefix + name] for entry in chosen):.1f}" for name in _SHORT]
    difference = None if row.paper_ap is None else mean / 100 - row.paper_ap
    shown = EMPTY if difference is None else f"{100 * difference:+.2f}"
    return [f"{mean:.2f}{spread}", shown, *others, _origin(chosen, difference)]


def _repeats(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """Those that differ from the newest in their seed alone: the same recipe on the same data."""
    same = lambda entry: (entry.config_hash, entry.data_hash)  # noqa: E731
    return [entry for entry in entries if same(entry) == same(entries[-1])]


def _origin(entries: Sequence[LedgerEntry], difference: float | None) -> str:
    verdict = "nothing to compare with" if difference is None else judge(difference)
    if entries[0].kind == "released weights":
        return f"{verdict}: released weights"
    seeds = ", ".join(str(entry.seed) for entry in entries)
    return f"{verdict}: trained, seed{'s' * (len(entries) > 1)} {seeds}"


def _nothing(row: Row) -> str:
    if row.config is None:
        return "not run" if row.zoo else "not in mmdet: cannot be run here"
    return "not run"


def entry_line(entry: LedgerEntry) -> str:
    """A result in a line."""
    shown = "  ".join(f"{name} {100 * value:.2f}" for name, value in entry.metrics.items() if value >= 0)
    if entry.kind == "smoke":
        return f"{entry.row}: every step works. {shown}: of a trial on a tiny model, not comparable with the paper"
    if entry.difference is None or entry.paper_ap is None:
        return f"{entry.row}: {shown}; no figure is published"
    paper = f"paper {100 * entry.paper_ap:.1f}, difference {100 * entry.difference:+.2f}"
    return f"{entry.row}: {shown}; {paper}: {entry.verdict}"
