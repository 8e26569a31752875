"""From a row of the paper to an entry in the ledger."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from brs_detr.checkpoints.download import sha256_of
from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import CocoSplit, find_splits
from brs_detr.errors import UserError
from brs_detr.reproduce.batch import Batch
from brs_detr.reproduce.launch import Machines, Training, run_training
from brs_detr.reproduce.ledger import Kind, LedgerEntry, add_to_ledger, kept_metrics
from brs_detr.reproduce.plan import batch_of
from brs_detr.reproduce.recipe import make_recipe, recipe_hash
from brs_detr.reproduce.tables import Row
from brs_detr.run.file_lock import hold
from brs_detr.run.run_folder import RunFolder, write_whole
from brs_detr.run.run_record import data_hash, describe_machine, read_record

if TYPE_CHECKING:
    from brs_detr.checkpoints.checkpoint import Checkpoint
    from brs_detr.evaluation.evaluate import Evaluation

DEMO = "demo"
SMOKE_EPOCHS = 2
_SMOKE_PICTURES = (16, 4)  # one step an epoch


@dataclass(frozen=True)
class Places:
    """Where everything is.

    Args:
        data: folder of COCO 2017; of any data set for a trial; `demo` for made pictures.
        out: folder of all runs.
        ledger: file.
    """

    data: str
    out: Path
    ledger: Path

    def run_folder(self, row: Row, seed: int, smoke: bool) -> Path:
        """Folder of one run and what belongs to it."""
        return (self.out / "smoke" if smoke else self.out) / row.name / f"seed{seed}"


def trial_data(places: Places) -> dict[str, CocoSplit]:
    """The splits `train` and `val` of the data of a trial.

    Raises:
        UserError: the folder has no such splits.
    """
    if places.data == DEMO:
        return _made_pictures(places.out / "smoke" / "data")
    splits = find_splits(places.data)
    if not {"train", "val"} <= splits.keys():
        raise UserError(f"{places.data} has the splits {', '.join(splits)}.", "A trial needs train and val.")
    return splits


def _made_pictures(folder: Path) -> dict[str, CocoSplit]:
    from brs_detr.data.synthetic.shapes import make_shapes

    with hold(folder.with_name(f".{folder.name}.lock"), wait=True):
        if not folder.exists():
            partial = folder.with_name(f".{folder.name}.{os.getpid()}")
            make_shapes(partial, *_SMOKE_PICTURES, (96, 96), seed=0, masks=True)
            partial.replace(folder)
    return find_splits(folder)


def train_row(
    row: Row,
    places: Places,
    splits: Mapping[str, CocoSplit],
    machines: Machines,
    seed: int,
    smoke: bool,
    console: Console,
) -> LedgerEntry | None:
    """Train a row, or go on with it, evaluate its last epoch and write the result into the ledger.

    Args:
        row: with a config.
        places: where everything is.
        splits: `train` and `val`, from `check_data_set` or `trial_data`.
        machines: to train on.
        seed: of every random choice.
        smoke: a trial on a tiny model.
        console: where progress is shown.

    Returns:
        The entry; None on machines other than the first.

    Raises:
        UserError: the folder holds another run, or the training failed.
    """
    assert row.config is not None
    folder, batch = places.run_folder(row, seed, smoke), batch_of(row, machines.num_processes)
    recipe = make_recipe(row.config, batch, splits, smoke)
    training = Training(folder / "recipe.py", folder / "run", seed, SMOKE_EPOCHS if smoke else None)
    if machines.is_head:
        _place_recipe(training.recipe, recipe.pretty_text)
    if _is_finished(training.work_dir):
        console.print(f"The training is complete: {training.work_dir}")
    else:
        with _one_thread(smoke):
            run_training(training, machines, console)
    if not machines.is_head:
        return None
    weights = RunFolder(training.work_dir).last
    evaluation = _evaluate(weights, None, folder / "eval", console)
    record = read_record(RunFolder(training.work_dir))
    return _write_entry(
        places,
        row=row.name,
        kind="smoke" if smoke else "trained",
        metrics=evaluation.metrics,
        paper_ap=row.paper_ap,
        metric=row.metric,
        seed=seed,
        config=row.config,
        config_hash=recipe_hash(recipe),
        data_hash=record["data_hash"],
        batch=batch,
        weights=weights,
        log=training.work_dir / "train.log",
        environment={"device": record["device"], "platform": record["platform"], **record["versions"]},
    )


@contextmanager
def _one_thread(wanted: bool) -> Iterator[None]:
    """Tiny models are several times slower on several threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _place_recipe(path: Path, text: str) -> None:
    """Write the recipe of a new run; refuse to go on with a run of another one."""
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UserError(
            f"{path.parent} holds a run with another recipe: other data, another number of GPUs or another version.",
            f"Move {path.parent} away to begin anew, or write elsewhere with --out DIR.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def _is_finished(work_dir: Path) -> bool:
    run = RunFolder(work_dir)
    return run.last.exists() and run.record.exists() and read_record(run).get("status") == "finished"


def evaluate_weights(row: Row, checkpoint: Checkpoint, places: Places, val: CocoSplit, console: Console) -> LedgerEntry:
    """Evaluate weights of somebody else and write the result into the ledger.

    Args:
        row: whose figure they should reach.
        checkpoint: with the config that they belong to.
        places: where everything is.
        val: images to evaluate on.
        console: where progress is shown.
    """
    folder = places.out / row.name / "released"
    evaluation = _evaluate(checkpoint, val, folder, console)
    return _write_entry(
        places,
        row=row.name,
        kind="released weights",
        metrics=evaluation.metrics,
        paper_ap=row.paper_ap,
        metric=row.metric,
        seed=None,
        config=row.config or row.zoo or "",
        config_hash=sha256_of(checkpoint.path),
        data_hash=data_hash({"val": (val, read_annotations(val.annotation_file))}),
        batch=None,
        weights=checkpoint.path,
        log=None,
        environment=describe_machine(),
    )


def _evaluate(checkpoint: Checkpoint | Path, split: CocoSplit | None, folder: Path, console: Console) -> Evaluation:
    from brs_detr.evaluation.evaluate import evaluate
    from brs_detr.evaluation.evaluation_files import write_evaluation

    evaluation = evaluate(checkpoint, split, "val" if split is None else None, console=console)
    write_evaluation(evaluation, folder)
    return evaluation


def _write_entry(
    places: Places,
    *,
    row: str,
    kind: Kind,
    metrics: Mapping[str, float],
    batch: Batch | None,
    weights: Path,
    log: Path | None,
    environment: Mapping[str, Any],
    **facts: Any,
) -> LedgerEntry:
    beside = places.ledger.parent
    entry = LedgerEntry(
        row=row,
        kind=kind,
        metrics=kept_metrics(metrics),
        effective_batch=batch.effective if batch else None,
        num_processes=batch.num_processes if batch else 1,
        weights=os.path.relpath(weights, beside),
        log=os.path.relpath(log, beside) if log else "",
        environment={name: str(value) for name, value in environment.items()},
        date=datetime.now(timezone.utc).date().isoformat(),
        **facts,
    )
    add_to_ledger(places.ledger, entry)
    return entry
