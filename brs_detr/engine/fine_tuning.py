"""Fine-tune a detector: choose a recipe for the data, load what weights there are, and train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from brs_detr.engine.apply_recipe import apply_recipe, needed_queries, resolution_for
from brs_detr.engine.batch_plan import BatchPlan, plan_batch
from brs_detr.engine.class_layers import find_class_layers, shared_classes
from brs_detr.engine.config import load_config
from brs_detr.engine.console import make_console
from brs_detr.engine.distributed import num_processes
from brs_detr.engine.folder_data import inner_dataset, split_of
from brs_detr.engine.load_table import load_table, remade_layers
from brs_detr.engine.load_weights import ClassChange, LoadAccount, load_weights
from brs_detr.engine.model_names import default_model, find_model
from brs_detr.engine.overrides import apply_overrides
from brs_detr.engine.recipe import RECIPES, Recipe, Start, change_recipe, size_of
from brs_detr.engine.recipe_table import recipe_rows, recipe_table
from brs_detr.engine.train import Job, Preparation, TrainedRun, run_job
from brs_detr.engine.training_facts import TrainingFacts, measure_facts
from brs_detr.engine.tuning import Tuning
from brs_detr.engine.tuning_overrides import split_assignments
from brs_detr.engine.weights_file import Weights, read_weights
from brs_detr.errors import UserError

if TYPE_CHECKING:
    from mmengine import Config
    from torch import nn

NO_WEIGHTS = "none"
_CPU_BATCH = 4


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
    weights: str | Path | None = None,
    batch: int | Literal["auto"] | None = None,
    settings: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    resume: bool = False,
    amp: bool = False,
    seed: int | None = None,
    services: Iterable[str] = (),
    with_report: bool = True,
    console: Console | None = None,
) -> TrainedRun:
    """Train a detector on a data set by the recipe for its size.

    Args:
        data: data set in COCO, Pascal VOC or YOLO format.
        model: short name (`brs_detr.engine.model_names.MODELS`), name of a config, or file; by default the one for this
            machine.
        work_dir: where to write; see `default_tuning_dir`.
        weights: what to start from, see `brs_detr.engine.weights_file.read_weights`; `none` for random weights. By
            default what the model's config names.
        batch: images that each process holds at a time, or `auto` for as many as fit into the GPU; by default as the
            model's config says.
        settings: values for the recipe, by name of the field of `brs_detr.engine.recipe.Recipe`.
        overrides: assignments `key=value` for the recipe, or for the config of the model.
        resume: go on from `last.pth` in `work_dir`.
        amp: run the forward pass in bfloat16.
        seed: of every random choice; by default one is drawn, printed and stored.
        services: that losses and metrics are sent to, of `brs_detr.engine.loggers.SERVICES`.
        with_report: write `report.html` in the end.
        console: where progress is shown; by default the first process prints to standard output.

    Raises:
        UserError: the model, weights, data or a setting cannot be used, `work_dir` already holds a run, or there is
            nothing to resume.
    """
    console = console or make_console()
    name, reason = (model, "") if model else default_model()
    config_name = find_model(name)
    console.print(f"Model {name}: {config_name}{f' ({reason})' if reason else ''}", markup=False)
    assigned, assignments = split_assignments(overrides)
    config = load_config(config_name, assignments)
    tuner = FineTuning(
        weights=find_weights(config, str(weights) if weights is not None else None),
        batch=batch,
        settings={**assigned, **(settings or {})},
        assignments=tuple(assignments),
        amp=amp,
        console=console,
    )
    place = Path(work_dir or default_tuning_dir(data, model))
    job = Job(config_name, data, place, resume, amp, seed, tuple(overrides), tuple(services), with_report)
    return run_job(job, config, console, tuner)
