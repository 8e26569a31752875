"""`brs-detr reproduce`: reproduce the tables of the paper, row by row."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brs_detr.cli import INTERRUPTED
from brs_detr.cli.options import trust_option
from brs_detr.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from brs_detr.reproduce.launch import Machines
    from brs_detr.reproduce.plan import Plan
    from brs_detr.reproduce.reproduce import Places
    from brs_detr.reproduce.tables import Row

_FOLDERS = {"coco": Path("data/coco"), "cityscapes": Path("data/cityscapes"), "lvis": Path("data/lvis_v1")}
_TABLES = [f"table{number}" for number in range(1, 9)]


@click.command("reproduce", short_help="Reproduce the tables of the paper.")
@click.argument("table", type=click.Choice(_TABLES), required=False)
@click.option("--row", "names", multiple=True, metavar="ROW", help="Row of the table; repeatable. [default: all]")
@click.option("--coco", type=click.Path(path_type=Path), help=f"Folder of COCO 2017. [default: {_FOLDERS['coco']}]")
@click.option(
    "--cityscapes",
    type=click.Path(path_type=Path),
    help=f"Folder of Cityscapes. [default: {_FOLDERS['cityscapes']}]",
)
@click.option("--lvis", type=click.Path(path_type=Path), help=f"Folder of LVIS v1. [default: {_FOLDERS['lvis']}]")
@click.option("--gpus", type=click.IntRange(1), help="GPUs per machine. [default: all; 1 for --smoke]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("work_dirs/reproduce"),
    help="Folder of runs. [default: work_dirs/reproduce]",
)
@click.option("--ledger", type=click.Path(path_type=Path), help="Ledger file. [default: ledger.json in --out]")
@click.option(
    "--loss",
    type=click.Choice(["exact", "bucketed", "rs", "ap", "bap"]),
    help="Ranking loss of all heads instead of that of the row.",
)
@click.option("--show", is_flag=True, help="Print the tables with the results in the ledger, and exit.")
@click.option("--plan", "only_plan", is_flag=True, help="Print the expected time and memory, and exit.")
@click.option("--eval-only", is_flag=True, help="Evaluate released weights instead of training.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights for --eval-only. [default: downloaded]")
@click.option("--mirror", metavar="URL", help="Server folder to download weights from.")
@click.option("--smoke", is_flag=True, help="Test every step with a tiny model, in a minute.")
@click.option("--data", metavar="DIR|demo", help="Dataset for --smoke. [default: demo, synthetic images]")
@click.option(
    "--machines",
    "count",
    type=click.IntRange(1),
    default=1,
    help="Machines that share a folder; run the same command on each.",
)
@click.option("--rank", type=click.IntRange(0), default=0, help="Rank of this machine, from 0.")
@click.option("--head", metavar="HOST:PORT", help="Address of the machine with rank 0.")
@click.option(
    "--slurm", type=click.Path(path_type=Path), metavar="FILE", help="Write a batch script for Slurm instead."
)
@trust_option
def command(
    table: str | None,
    names: tuple[str, ...],
    coco: Path | None,
    cityscapes: Path | None,
    lvis: Path | None,
    gpus: int | None,
    seed: int,
    out: Path,
    ledger: Path | None,
    loss: str | None,
    show: bool,
    only_plan: bool,
    eval_only: bool,
    weights: Path | None,
    mirror: str | None,
    smoke: bool,
    data: str | None,
    count: int,
    rank: int,
    head: str | None,
    slurm: Path | None,
    trust_file: bool,
) -> None:
    """Train or evaluate rows of TABLE, and write each result into a ledger beside the AP in the paper.

    A row is trained as in the paper, with 16 images per step, accumulated if there are fewer GPUs. It may be stopped at
    any time: the same command resumes from the last checkpoint. `--show` lists the rows of a table. Tables 1 to 4, 7
    and 8 compare losses in Faster, Cascade and Mask R-CNN, ATSS, PAA and RetinaNet. Table 5 has Co-DETR, and Table 6
    other transformers.

    \b
    Examples:
      brs-detr reproduce --show
      brs-detr reproduce table5 --smoke
      brs-detr reproduce table5 --row brs-r50 --plan
      brs-detr reproduce table5 --row brs-r50 --coco data/coco
      brs-detr reproduce table2 --row brs-atss-r50 --gpus 4
      brs-detr reproduce table5 --row brs-r50 --eval-only
      brs-detr reproduce table5 --row brs-swin-l --gpus 8 --slurm swin-l.sh
    """
    from brs_detr.reproduce.launch import Machines
    from brs_detr.reproduce.reproduce import DEMO, Places
    from brs_detr.run.console import make_console

    console = make_console()
    ledger = ledger or out / "ledger.json"
    if show:
        _show(ledger, [table] if table else [], console)
        return
    if table is None:
        raise click.UsageError("Name a table: table1 to table8. `brs-detr reproduce --show` prints all of them.")
    if data is not None and not smoke:
        raise click.UsageError("--data is for --smoke. A row of the paper needs --coco DIR, or --cityscapes or --lvis.")
    if eval_only and (smoke or only_plan or slurm is not None):
        raise click.UsageError("--eval-only cannot be combined with --smoke, --plan or --slurm.")
    if weights is not None and not eval_only:
        raise click.UsageError("--weights is for --eval-only. To train from your own weights: brs-detr finetune.")
    if loss is not None and eval_only:
        raise click.UsageError("--loss is for training and cannot be combined with --eval-only.")
    rows = _rows(table, names, eval_only)
    folder = _folder(rows[0].data, {"coco": coco, "cityscapes": cityscapes, "lvis": lvis})
    places = Places((data or DEMO) if smoke else str(folder), out, ledger)
    machines = Machines(gpus or (1 if smoke else _gpus_here()), count, rank, head)
    if slurm is not None:
        _write_slurm(slurm, rows, gpus, machines, seed, places, loss, console)
    elif only_plan:
        _plan(rows, machines, console)
    elif eval_only:
        _evaluate(rows, places, weights, mirror, trust_file, console)
    else:
        machines.require_complete()
        _train(rows, places, machines, seed, smoke, loss, console)


def _show(ledger: Path, names: Sequence[str], console: Console) -> None:
    from brs_detr.reproduce.ledger import entry_line, read_ledger, tables
    from brs_detr.reproduce.tables import TABLES

    entries = read_ledger(ledger)
    for table in tables(entries, names or TABLES):
        console.print(table)
    for entry in entries:
        if entry.kind == "smoke":
            console.print(f"Smoke test: {entry_line(entry)}")
    console.print("-: no result yet. For the paper, only AP is shown. --help says how to add results.")
    console.print(f"Our results are from {ledger}." if entries else f"There are no results yet in {ledger}.")


def _rows(table: str, names: Sequence[str], eval_only: bool) -> list[Row]:
    from brs_detr.reproduce.tables import find_row, rows_of

    if names:
        rows = [find_row(name, table) for name in dict.fromkeys(names)]
        for row in rows:
            if row.config is None and not (eval_only and row.zoo):
                hint = "Add --eval-only." if row.zoo else "`brs-detr reproduce --show` has its published AP."
                raise UserError(f"{row.detector} is not trained by this package.", hint)
        return rows
    if eval_only:
        released = [row for row in rows_of(table) if row.weights or row.zoo]
        if not released:
            raise UserError(f"No weights are released for a row of {table}.", "Train a row, without --eval-only.")
        return released
    return [row for row in rows_of(table) if row.config is not None]


def _folder(data: str, options: Mapping[str, Path | None]) -> Path:
    """Return the folder of a dataset, and refuse options for other datasets."""
    for name, path in options.items():
        if path is not None and name != data:
            raise click.UsageError(f"--{name} has no effect here: these rows use --{data} DIR.")
    return options[data] or _FOLDERS[data]


def _gpus_here() -> int:
    import torch

    return max(1, torch.cuda.device_count())


def _plan(rows: Sequence[Row], machines: Machines, console: Console) -> list[Plan]:
    from brs_detr.reproduce.plan import make_plan

    plans = [make_plan(row, machines.num_processes) for row in rows]
    for plan in plans:
        console.print("\n".join(plan.lines()))
    return plans


def _write_slurm(
    script: Path,
    rows: Sequence[Row],
    gpus: int | None,
    machines: Machines,
    seed: int,
    places: Places,
    loss: str | None,
    console: Console,
) -> None:
    from brs_detr.reproduce.launch import write_slurm_script

    if len(rows) != 1:
        raise click.UsageError("--slurm writes a script for one row: name it with --row.")
    if gpus is None:
        raise click.UsageError("--slurm needs the number of GPUs per node: add --gpus N.")
    (row,), (plan,) = rows, _plan(rows, machines, console)
    arguments = [
        *("reproduce", row.tables[0], "--row", row.name, "--gpus", str(gpus), "--seed", str(seed)),
        *(f"--{row.data}", places.data, "--out", str(places.out), "--ledger", str(places.ledger)),
        *(("--loss", loss) if loss else ()),
    ]
    write_slurm_script(script, row.name, arguments, machines, plan.hours)
    console.print(f"Written to {script}. Submit it: sbatch {script}")


def _train(
    rows: Sequence[Row],
    places: Places,
    machines: Machines,
    seed: int,
    smoke: bool,
    loss: str | None,
    console: Console,
) -> None:
    from brs_detr.reproduce.data_sets import check_data_set
    from brs_detr.reproduce.ledger import entry_line
    from brs_detr.reproduce.reproduce import train_row, trial_data
    from brs_detr.run.console import make_console

    if machines.count > 1 and len(rows) > 1:
        raise click.UsageError("Several machines train one row at a time: name it with --row.")
    if not smoke:
        _require_gpu()
        _plan(rows, machines, console)
    splits = trial_data(places) if smoke else check_data_set(rows[0].data, Path(places.data))
    for row in rows:
        try:
            entry = train_row(row, places, splits, machines, seed, smoke, console, loss)
        except KeyboardInterrupt:
            make_console(stderr=True).print("\nStopped. The same command resumes from the last checkpoint.")
            sys.exit(INTERRUPTED)
        if entry is not None:
            console.print(entry_line(entry))
    console.print(f"Ledger: {places.ledger}. Next: brs-detr reproduce --show")


def _require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            "This machine has no GPU that PyTorch can use, and training a row on a CPU would take months.",
            "Evaluate released weights with --eval-only, test every step with --smoke, see the cost with --plan, or "
            "write a script for a cluster with --slurm FILE.",
        )


def _evaluate(
    rows: Sequence[Row], places: Places, weights: Path | None, mirror: str | None, trust_file: bool, console: Console
) -> None:
    from brs_detr.reproduce.data_sets import check_data_set
    from brs_detr.reproduce.ledger import entry_line
    from brs_detr.reproduce.reproduce import evaluate_weights, released_checkpoint

    if weights is not None and len(rows) != 1:
        raise click.UsageError("--weights is for one row: name it with --row.")
    if mirror is not None and any(row.zoo for row in rows):
        raise click.UsageError("--mirror is for official weights: name a file from mmdet's zoo with --weights FILE.")
    val = check_data_set(rows[0].data, Path(places.data), ["val"])["val"]
    for row in rows:
        checkpoint = released_checkpoint(row, weights, mirror, trust_file, console)
        console.print(entry_line(evaluate_weights(row, checkpoint, places, val, console)))
    console.print(f"Ledger: {places.ledger}. Next: brs-detr reproduce --show")
