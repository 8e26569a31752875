"""Fine-tune a detector: choose a recipe for the data, load what weights there are, and train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from brs_detr.checkpoints.starting_weights import choose_weights, no_weights
from brs_detr.checkpoints.stored_config import is_harmless
from brs_detr.config.config import load_config
from brs_detr.config.model_names import default_model, find_model
from brs_detr.config.overrides import parse_value
from brs_detr.errors import UserError
from brs_detr.finetune.tuner import TUNING, Tuner
from brs_detr.finetune.tuning_overrides import split_assignments
from brs_detr.run.console import make_console
from brs_detr.run.run_folder import RunFolder
from brs_detr.run.run_record import read_record
from brs_detr.training.resume import require_resumable
from brs_detr.training.train import Job, TrainedRun, run_job


def default_tuning_dir(data: str | Path, model: str | None) -> Path:
    """Where a fine-tuning writes when nothing is said: `work_dirs/<name of the data>_<name of the model>`."""
    folder = Path(data).resolve()
    name = folder.parent.name if folder.is_file() else folder.name
    return Path("work_dirs") / f"{name}_{Path(model or default_model()[0]).stem}"


def finetune(
    data: str | Path,
    model: str | None = None,
    work_dir: str | Path | None = None,
    *,
    weights: str | None = None,
    batch: int | Literal["auto"] | None = None,
    settings: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    resume: bool = False,
    amp: bool = False,
    seed: int | None = None,
    deterministic: bool = False,
    services: Iterable[str] = (),
    console: Console | None = None,
    trust_file: bool = False,
) -> TrainedRun:
    """Train a detector on a data set by the recipe for its size.

    Args:
        data: data set in COCO, Pascal VOC or YOLO format.
        model: short name (`brs_detr.config.model_names.MODELS`), name of a config, or file; by default the one
            for this machine.
        work_dir: where to write; see `default_tuning_dir`.
        weights: what to start from, see `brs_detr.checkpoints.weights_file.read_weights`; `none` for random
            weights. By default what the model's config names.
        batch: images that each process holds at a time, or `auto` for as many as fit into the GPU; by default as the
            model's config says.
        settings: values for the recipe, by name of the field of `brs_detr.finetune.recipe.Recipe`.
        overrides: assignments `key=value` for the recipe, or for the config of the model.
        resume: go on from `last.pth` in `work_dir`, with the model, recipe and batch of that run.
        amp: run the forward pass in bfloat16.
        seed: of every random choice; by default one is drawn, printed and stored.
        deterministic: the same seed gives the same bits on a GPU too, which costs time.
        services: that losses and metrics are sent to, of `brs_detr.training.loggers.SERVICES`.
        console: where progress is shown; by default the first process prints to standard output.
        trust_file: run the code that the weights ask for, or the run that is resumed.

    Raises:
        UserError: the model, weights, data or a setting cannot be used, `work_dir` already holds a run, or there is
            nothing to resume.
    """
    console = console or make_console()
    place = Path(work_dir or default_tuning_dir(data, model))
    record = _resumed_record(place) if resume else None
    if record is not None:
        overrides = tuple(overrides)
        if not trust_file:
            _require_data(record, model, overrides, place)
        model, amp = model or record["config"], amp or record["amp"]
        overrides = dict.fromkeys((*record["overrides"], *overrides))
    config_name = _choose_model(model, console)
    assigned, assignments = split_assignments(overrides)
    config = load_config(config_name, assignments)
    if record is None:
        decided, starting = None, choose_weights(config, weights, trust_file)
    else:
        decided = record[TUNING]
        starting = no_weights(config, decided["start"], decided["weights"])
    values = {**assigned, **(settings or {})}
    tuner = Tuner(starting, batch, values, tuple(assignments), amp, console, decided)
    job = Job(config_name, data, place, resume, amp, seed, deterministic, tuple(overrides), tuple(services), trust_file)
    return run_job(job, config, console, tuner)


def _require_data(record: Mapping[str, Any], model: str | None, overrides: Sequence[str], work_dir: Path) -> None:
    """Refuse a record whose config is a program, or that sets a key to what could name one, unless the user says so."""
    config = str(record["config"])
    if model is None and Path(config).suffix == ".py":
        raise UserError(
            f"{work_dir} was trained by the program {config}, which would run.",
            f"If you trust it, add --model {config}.",
        )
    recorded = [one for one in record["overrides"] if one not in overrides]
    acting = [one for one in recorded if not is_harmless(parse_value(one.partition("=")[2].strip()))]
    if acting:
        raise UserError(
            f"{work_dir} was trained with settings that are more than numbers and names: {', '.join(acting)}.",
            "If you trust them, add --trust-file, or give them again with --set.",
        )


def _choose_model(asked: str | None, console: Console) -> str:
    name, reason = (asked, "") if asked else default_model()
    config_name = find_model(name)
    console.print(f"Model {name}: {config_name}{f' ({reason})' if reason else ''}", markup=False)
    return config_name


def _resumed_record(work_dir: Path) -> dict[str, Any]:
    """The record of a fine-tuning that is resumed."""
    run = RunFolder(work_dir)
    require_resumable(run)
    record = read_record(run)
    if TUNING not in record:
        raise UserError(f"{work_dir} was not trained by finetune.", "Go on with `brs-detr train ... --resume`.")
    return record
