"""From a row of the paper to an entry in the ledger: train it, or evaluate released weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from brs_detr.checkpoints.checkpoint import Checkpoint, read_checkpoint
from brs_detr.checkpoints.checkpoint_index import fetch
from brs_detr.checkpoints.convert_checkpoint import coco_classes, convert_weights
from brs_detr.checkpoints.download import sha256_of
from brs_detr.checkpoints.file_info import describe_file
from brs_detr.checkpoints.weights_file import cached_file, read_weights
from brs_detr.config.config import load_config
from brs_detr.config.folder_data import set_num_classes
from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import CocoSplit, find_splits
from brs_detr.errors import UserError
from brs_detr.files import write_whole
from brs_detr.reproduce.launch import Machines, Training, run_training
from brs_detr.reproduce.ledger import LedgerEntry, add_to_ledger, kept_metrics
from brs_detr.reproduce.plan import batch_of
from brs_detr.reproduce.recipe import make_recipe, recipe_hash
from brs_detr.reproduce.tables import Row
from brs_detr.run.locks import hold
from brs_detr.run.run_folder import RunFolder
from brs_detr.run.run_record import data_hash, describe_machine, read_record

if TYPE_CHECKING:
    from mmengine import Config

    from brs_detr.evaluation.evaluate import Evaluation

DEMO = "demo"
SMOKE_EPOCHS = 2
_SMOKE_IMAGES = (16, 4)  # one step per epoch


@dataclass(frozen=True)
class Places:
    """Paths of the data and the results.

    Args:
        data: folder of the dataset. For a smoke test, any dataset, or `demo` for synthetic images.
        out: folder of all runs.
        ledger: ledger file.
    """

    data: str
    out: Path
    ledger: Path

    def run_folder(self, row: Row, seed: int, smoke: bool, loss: str | None = None) -> Path:
        """Return the folder of a run, its recipe and its evaluation."""
        name = f"{row.name}_{loss}" if loss else row.name
        return (self.out / "smoke" if smoke else self.out) / name / f"seed{seed}"


def trial_data(places: Places) -> dict[str, CocoSplit]:
    """Return the splits `train` and `val` for a smoke test.

    Raises:
        UserError: the folder has no such splits.
    """
    if places.data == DEMO:
        return _synthetic_images(places.out / "smoke" / "data")
    splits = find_splits(places.data)
    if not {"train", "val"} <= splits.keys():
        raise UserError(f"{places.data} has the splits {', '.join(splits)}.", "--smoke needs train and val.")
    return splits


def _synthetic_images(folder: Path) -> dict[str, CocoSplit]:
    from brs_detr.data.synthetic.shapes import make_shapes

    with hold(folder.with_name(f".{folder.name}.lock"), wait=True):
        if not folder.exists():
            partial = folder.with_name(f".{folder.name}.{os.getpid()}")
            make_shapes(partial, *_SMOKE_IMAGES, (96, 96), seed=0, masks=True)
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
    loss: str | None = None,
) -> LedgerEntry | None:
    """Train a row, or resume it, evaluate the last epoch, and write the result into the ledger.

    Args:
        row: a row with a config.
        places: paths of the data and the results.
        splits: `train` and `val`, from `check_data_set` or `trial_data`.
        machines: machines to train on.
        seed: seed of all random numbers.
        smoke: test every step with a tiny model.
        console: where to show progress.
        loss: ranking loss instead of that of the row, see `brs_detr.config.losses`.

    Returns:
        The entry, or None on machines other than the first.

    Raises:
        UserError: the folder holds another run, or the training failed.
    """
    assert row.config is not None
    folder, batch = places.run_folder(row, seed, smoke, loss), batch_of(row, machines.num_processes)
    recipe = make_recipe(row.config, batch, splits, smoke, loss)
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
        row,
        places,
        evaluation,
        weights,
        training.work_dir / "train.log",
        {"device": record["device"], "platform": record["platform"], **record["versions"]},
        kind="smoke" if smoke else "trained",
        seed=seed,
        config=row.config,
        config_hash=recipe_hash(recipe),
        data_hash=record["data_hash"],
        effective_batch=batch.effective,
        num_processes=batch.num_processes,
        loss=loss or "",
    )


@contextmanager
def _one_thread(wanted: bool) -> Iterator[None]:
    """Use one thread, if wanted, since tiny models are several times slower on several threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _place_recipe(path: Path, text: str) -> None:
    """Write the recipe of a new run, and refuse to resume a run with another one."""
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UserError(
            f"{path.parent} holds a run with another recipe: other data, another number of GPUs or another version.",
            f"Move {path.parent} away to start again, or choose another folder with --out DIR.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)


def _is_finished(work_dir: Path) -> bool:
    run = RunFolder(work_dir)
    return run.last.exists() and run.record.exists() and read_record(run).get("status") == "finished"


def evaluate_weights(row: Row, checkpoint: Checkpoint, places: Places, val: CocoSplit, console: Console) -> LedgerEntry:
    """Evaluate released weights, and write the result into the ledger.

    Args:
        row: the row to compare with.
        checkpoint: the weights and their config.
        places: paths of the data and the results.
        val: split to evaluate on.
        console: where to show progress.
    """
    folder = places.out / row.name / "released"
    evaluation = _evaluate(checkpoint, val, folder, console)
    return _write_entry(
        row,
        places,
        evaluation,
        checkpoint.path,
        None,
        describe_machine(),
        kind="released weights",
        seed=None,
        config=row.config or row.zoo or "",
        config_hash=sha256_of(checkpoint.path),
        data_hash=data_hash({"val": (val, read_annotations(val.annotation_file))}),
        effective_batch=None,
        num_processes=1,
    )


def _evaluate(checkpoint: Checkpoint | Path, split: CocoSplit | None, folder: Path, console: Console) -> Evaluation:
    from brs_detr.evaluation.evaluate import evaluate, write_evaluation

    evaluation = evaluate(checkpoint, split, "val" if split is None else None, console=console)
    write_evaluation(evaluation, folder)
    return evaluation


def _write_entry(
    row: Row,
    places: Places,
    evaluation: Evaluation,
    weights: Path,
    log: Path | None,
    environment: Mapping[str, Any],
    **facts: Any,
) -> LedgerEntry:
    folder = places.ledger.parent
    entry = LedgerEntry(
        row=row.name,
        paper_ap=row.paper_ap,
        metric=row.metric,
        metrics=kept_metrics(evaluation.metrics),
        weights=os.path.relpath(weights, folder),
        log=os.path.relpath(log, folder) if log else "",
        environment={name: str(value) for name, value in environment.items()},
        date=datetime.now(timezone.utc).date().isoformat(),
        **facts,
    )
    add_to_ledger(places.ledger, entry)
    return entry


def released_checkpoint(
    row: Row, weights: Path | None, mirror: str | None, trust_file: bool, console: Console
) -> Checkpoint:
    """Download released weights, and convert them to a checkpoint.

    Args:
        row: the row whose weights are wanted.
        weights: a file to use instead: official weights, a checkpoint of this package, or weights of mmdet's zoo.
        mirror: see `brs_detr.checkpoints.checkpoint_index.fetch`.
        trust_file: run the code that the file asks for.
        console: where to show progress.

    Raises:
        UserError: no weights are released, they cannot be downloaded, or they do not fit.
    """
    if row.zoo is not None:
        return _of_zoo(row.zoo, weights, trust_file)
    if weights is None and row.weights is None:
        raise UserError(
            f"No weights of {row.detector} with {row.backbone} are released for this table.",
            f"Train it: brs-detr reproduce {row.tables[0]} --row {row.name}. Or name a file with --weights FILE.",
        )
    path = weights or fetch(str(row.weights), mirror=mirror, console=console).path
    if _is_ours(path):
        checkpoint = read_checkpoint(path, trust_file)
        _require_model_of(row, checkpoint)
        return checkpoint
    released = read_weights(str(path), trust_file)
    conversion = convert_weights(released.state_dict, released.class_names, row.config, str(path))
    return Checkpoint(path, conversion.config, conversion.class_names, conversion.state_dict, {})


def _is_ours(path: Path) -> bool:
    return path.is_dir() or describe_file(path).kind.startswith("checkpoint of this package")


def _require_model_of(row: Row, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose model differs from that of the row."""
    expected = load_config(str(row.config)).model
    set_num_classes(expected, len(checkpoint.class_names))
    if _comparable(expected) != _comparable(checkpoint.config.model):
        raise UserError(
            f"{checkpoint.path} is not {row.detector} with {row.backbone} as in {row.config}: its config differs.",
            "`brs-detr info FILE` describes it; `brs-detr eval FILE --data DIR` measures it without the ledger.",
        )


def _comparable(model: Config) -> str:
    """Return the config of a model as text, without the initial weights of the backbone."""
    backbone = {name: value for name, value in model.backbone.items() if name != "init_cfg"}
    return json.dumps({**model.to_dict(), "backbone": backbone}, sort_keys=True)


def _of_zoo(name: str, weights: Path | None, trust_file: bool) -> Checkpoint:
    config = load_config(zoo_config_file(name))
    path = weights or cached_file(zoo_url(name), name, "name a local file with --weights FILE.")
    content = read_weights(str(path), trust_file)
    config.model.backbone.init_cfg = None
    return Checkpoint(path, config, content.class_names or coco_classes(), content.state_dict, {})


def zoo_config_file(name: str) -> Path:
    """Return the path of a config of the installed mmdet, such as `dino/dino-4scale_r50_8xb2-12e_coco`."""
    return Path(str(files("mmdet") / ".mim" / "configs" / f"{name}.py"))


def zoo_model(name: str) -> dict[str, Any]:
    """Return mmdet's metadata of a model in its zoo: AP, epochs, address of the weights."""
    import yaml

    metafile = zoo_config_file(name).with_name("metafile.yml")
    models = yaml.safe_load(metafile.read_text(encoding="utf-8"))["Models"]
    return next(model for model in models if model["Name"] == name.rpartition("/")[2])


def zoo_url(name: str) -> str:
    """Return the address of the weights of a model in mmdet's zoo."""
    return str(zoo_model(name)["Weights"])
