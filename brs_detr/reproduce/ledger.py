"""`ledger.json`: every row of the paper that was reproduced here, and the tables of the paper beside it."""

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
    """One result.

    Args:
        row: name of the row in `brs_detr.reproduce.tables`.
        kind: trained here, released weights evaluated here, or a trial of the machinery that says nothing of the paper.
        metrics: those of `METRICS`, of the last epoch, in [0, 1]; of masks and
            of LVIS's groups of classes too where they were measured.
        paper_ap: published figure, in [0, 1], if there is one.
        seed: of the training.
        config: by name.
        config_hash: SHA-256 of the resolved config without paths; of released weights, that of their file.
        data_hash: SHA-256 of what was trained and evaluated on, see `brs_detr.run.run_record.data_hash`.
        effective_batch: images a step.
        num_processes: that shared them.
        weights: file that was evaluated, from the folder of the ledger.
        log: of the training, likewise; empty without one.
        environment: device and versions.
        date: on which it was evaluated.
        metric: that the published figure is of.
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

    @property
    def ap(self) -> float:
        """What is compared with the published figure."""
        return self.metrics[self.metric]

    @property
    def difference(self) -> float | None:
        """AP here less AP published; None of a trial, and where none is published."""
        return None if self.kind == "smoke" or self.paper_ap is None else round(self.ap - self.paper_ap, 6)

    @property
    def verdict(self) -> Verdict:
        """Within the noise between runs, above it or below it."""
        if self.kind == "smoke":
            return "smoke"
        return "not published" if self.difference is None else judge(self.difference)

    @property
    def key(self) -> tuple[str, str, int | None, str, str]:
        """What makes it another result, and not the same one again."""
        return self.row, self.kind, self.seed, self.config_hash, self.data_hash


def judge(difference: float) -> Verdict:
    """Within the noise between runs, above it or below it."""
    if abs(difference) <= NOISE:
        return "reproduced"
    return "above" if difference > 0 else "below"


def read_ledger(path: Path) -> list[LedgerEntry]:
    """Entries of a ledger, oldest first; none where there is no file.

    Raises:
        UserError: the file is damaged, or of a later version.
    """
    if not path.exists():
        return []
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["format_version"] > FORMAT_VERSION:
            raise UserError(f"{path} was written by a later version of brs-detr.", "Update brs-detr.")
        entries = [{"metric": "AP", **entry} for entry in stored["entries"]]
        entries = [{name: entry[name] for name in LedgerEntry.__dataclass_fields__} for entry in entries]
        return [LedgerEntry(**{**entry, "metrics": _checked(entry["metrics"])}) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path} is damaged or no ledger ({reason}).", "Mend it, or write to another with --ledger."
        ) from None


def _checked(metrics: dict[str, Any]) -> dict[str, float]:
    return kept_metrics({name: float(value) for name, value in metrics.items()})


def kept_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those that a ledger keeps: of boxes; of masks and of LVIS's groups of classes, if there are any."""
    return {name: metrics[name] for name in _KEPT if name in METRICS or name in metrics}


def add_to_ledger(path: Path, entry: LedgerEntry) -> None:
    """Write an entry, in the place of an earlier one of the same run; the file is whole at any time.

    Raises:
        UserError: the file that is there cannot be read; it stays as it is.
    """
    kept = [other for other in read_ledger(path) if other.key != entry.key]
    entries = [{**asdict(one), "difference": one.difference, "verdict": one.verdict} for one in [*kept, entry]]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"format_version": FORMAT_VERSION, "entries": entries}, indent=1) + "\n")


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
