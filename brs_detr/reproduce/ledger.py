"""The ledger `ledger.json`: all results for rows of the paper, and tables that compare them with the paper."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.table import Table

from brs_detr.analysis.coco_ap import FREQUENCIES
from brs_detr.errors import UserError
from brs_detr.files import write_whole
from brs_detr.reproduce.tables import NOISE, TABLES, Row, rows_of

Kind = Literal["trained", "released weights", "smoke"]
Verdict = Literal["reproduced", "above", "below", "smoke", "not published"]

FORMAT_VERSION = 1
METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
MASK_METRICS = tuple(f"mask_{name}" for name in METRICS)
_KEPT = (*METRICS, *MASK_METRICS, *(f"{kind}_{word}" for kind in ("AP", "mask_AP") for word in FREQUENCIES.values()))

_SHORT = {"AP50": "AP50", "AP75": "AP75", "AP_small": "APs", "AP_medium": "APm", "AP_large": "APl"}
EMPTY = "-"


@dataclass(frozen=True)
class LedgerEntry:
    """A result.

    Args:
        row: name of the row in `brs_detr.reproduce.tables`.
        kind: trained here, released weights evaluated here, or a smoke test, which cannot be compared with the paper.
        metrics: `METRICS` of the last epoch in [0, 1], and if measured, those of masks and of LVIS's groups of classes.
        paper_ap: published AP in [0, 1], if there is one.
        seed: seed of the training.
        config: name of the config.
        config_hash: SHA-256 of the resolved config without paths, or of the file of released weights.
        data_hash: hash of the data, see `brs_detr.run.run_record.data_hash`.
        effective_batch: images per optimizer step.
        num_processes: number of processes.
        weights: file that was evaluated, relative to the folder of the ledger.
        log: log of the training, likewise, or empty.
        environment: device and versions.
        date: date of the evaluation.
        metric: metric of the published AP.
        loss: ranking loss asked for with `--loss` instead of that of the row, or empty.
    """

    row: str
    kind: Kind
    metrics: dict[str, float]
    paper_ap: float | None
    seed: int | None
    config: str
    config_hash: str
    data_hash: str
    effective_batch: int | None
    num_processes: int
    weights: str
    log: str
    environment: dict[str, str]
    date: str
    metric: str = "AP"
    loss: str = ""

    @property
    def ap(self) -> float:
        """The AP that is compared with the published one."""
        return self.metrics[self.metric]

    @property
    def difference(self) -> float | None:
        """AP minus published AP. None for a smoke test, and if none is published."""
        return None if self.kind == "smoke" or self.paper_ap is None else round(self.ap - self.paper_ap, 6)

    @property
    def verdict(self) -> Verdict:
        """How the result compares with the published AP."""
        if self.kind == "smoke":
            return "smoke"
        return "not published" if self.difference is None else judge(self.difference)

    @property
    def key(self) -> tuple[str, str, int | None, str, str]:
        """What identifies the result."""
        return self.row, self.kind, self.seed, self.config_hash, self.data_hash


def judge(difference: float) -> Verdict:
    """Return whether a difference from the published AP is within the noise between runs, above it or below it."""
    if abs(difference) <= NOISE:
        return "reproduced"
    return "above" if difference > 0 else "below"


def read_ledger(path: Path) -> list[LedgerEntry]:
    """Read the entries of a ledger, oldest first. A missing file has no entries.

    Raises:
        UserError: the file is damaged, or from a later version.
    """
    if not path.exists():
        return []
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["format_version"] > FORMAT_VERSION:
            raise UserError(f"{path} was written by a later version of brs-detr.", "Update brs-detr.")
        entries = [{"metric": "AP", "loss": "", **entry} for entry in stored["entries"]]
        entries = [{name: entry[name] for name in LedgerEntry.__dataclass_fields__} for entry in entries]
        return [LedgerEntry(**{**entry, "metrics": _checked(entry["metrics"])}) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path} is damaged or not a ledger ({reason}).", "Repair it, or use another file with --ledger."
        ) from None


def _checked(metrics: dict[str, Any]) -> dict[str, float]:
    return kept_metrics({name: float(value) for name, value in metrics.items()})


def kept_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that a ledger keeps: of boxes and, if measured, of masks and LVIS's groups of classes."""
    return {name: metrics[name] for name in _KEPT if name in METRICS or name in metrics}


def add_to_ledger(path: Path, entry: LedgerEntry) -> None:
    """Add an entry to a ledger atomically. It replaces an earlier entry of the same run.

    Raises:
        UserError: the existing file cannot be read. It is not changed.
    """
    results = [*(other for other in read_ledger(path) if other.key != entry.key), entry]
    entries = [{**asdict(result), "difference": result.difference, "verdict": result.verdict} for result in results]
    write_whole(path, json.dumps({"format_version": FORMAT_VERSION, "entries": entries}, indent=1) + "\n")


def tables(entries: Sequence[LedgerEntry], names: Iterable[str] = TABLES) -> list[Table]:
    """Return the tables of the paper with our results, with AP in percent."""
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
    table.add_column("our result")
    for row in rows:
        results = [entry for entry in entries if entry.row == row.name and entry.kind != "smoke"]
        facts = (row.name, row.detector, row.backbone, *[row.loss] * has_losses, str(row.epochs))
        paper = EMPTY if row.paper_ap is None else f"{100 * row.paper_ap:.1f}"
        table.add_row(*facts, paper, *_cells(row, [entry for entry in results if not entry.loss]))
        for loss in dict.fromkeys(entry.loss for entry in results if entry.loss):
            others = (f"{row.name} --loss {loss}", *facts[1:])
            table.add_row(*others, paper, *_cells(row, [entry for entry in results if entry.loss == loss]))
    return table


def _cells(row: Row, entries: Sequence[LedgerEntry]) -> list[str]:
    trained = _repeats([entry for entry in entries if entry.kind == "trained"])
    chosen = trained or [entry for entry in entries if entry.kind == "released weights"][-1:]
    if not chosen:
        is_unavailable = row.config is None and row.zoo is None
        return [EMPTY] * (2 + len(_SHORT)) + ["not available in mmdet" if is_unavailable else "not run"]
    values = [100 * entry.ap for entry in chosen]
    mean = statistics.mean(values)
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    prefix = row.metric.removesuffix("AP")
    others = [f"{100 * statistics.mean(entry.metrics[prefix + name] for entry in chosen):.1f}" for name in _SHORT]
    difference = None if row.paper_ap is None else mean / 100 - row.paper_ap
    shown = EMPTY if difference is None else f"{100 * difference:+.2f}"
    return [f"{mean:.2f}{spread}", shown, *others, _origin(chosen, difference)]


def _repeats(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """Return the entries with the same recipe and data as the newest one, which differ only in the seed."""
    return [entry for entry in entries if entry.key[3:] == entries[-1].key[3:]]


def _origin(entries: Sequence[LedgerEntry], difference: float | None) -> str:
    verdict = "no published AP" if difference is None else judge(difference)
    if entries[0].kind == "released weights":
        return f"{verdict}: released weights"
    seeds = ", ".join(str(entry.seed) for entry in entries)
    return f"{verdict}: trained, seed{'s' * (len(entries) > 1)} {seeds}"


def entry_line(entry: LedgerEntry) -> str:
    """Describe a result in one line."""
    run = f"{entry.row} --loss {entry.loss}" if entry.loss else entry.row
    shown = "  ".join(f"{name} {100 * value:.2f}" for name, value in entry.metrics.items() if value >= 0)
    if entry.kind == "smoke":
        return f"{run}: every step works. {shown} (tiny model, not comparable with the paper)"
    if entry.difference is None or entry.paper_ap is None:
        return f"{run}: {shown}; no AP is published"
    paper = f"paper {100 * entry.paper_ap:.1f}, difference {100 * entry.difference:+.2f}"
    return f"{run}: {shown}; {paper}: {entry.verdict}"
