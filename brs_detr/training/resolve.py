"""Resolve everything about a run before it starts: config, data, weights, recipe, batch and seed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from brs_detr.checkpoints.stored_config import is_harmless
from brs_detr.checkpoints.weights_file import StartingWeights, choose_weights, fetch_weights, no_weights
from brs_detr.config.config import apply_overrides, default_model, find_model, load_config, parse_value
from brs_detr.config.folder_data import check_data, config_class_names, split_of, use_config_data, use_folder
from brs_detr.config.losses import config_with_loss, differing_losses, set_loss
from brs_detr.errors import UserError
from brs_detr.evaluation.loaders import mend_workers
from brs_detr.files import temporary_folder
from brs_detr.recipes.apply_recipe import apply_recipe, needed_queries, ranking_heads, resolution_for
from brs_detr.recipes.decide import decide
from brs_detr.recipes.plan import Row, TrainingPlan, measure_facts, recipe_rows, recipe_table
from brs_detr.recipes.recipe import split_assignments
from brs_detr.run.distributed import num_processes
from brs_detr.run.run_folder import RunFolder
from brs_detr.run.run_record import describe_run, read_record
from brs_detr.training.checkpoints import checkpoint_to_resume, require_resumable
from brs_detr.training.loggers import set_loggers
from brs_detr.training.registry import register

if TYPE_CHECKING:
    from mmengine import Config

RECIPE_RECORD = "tuning"
"""Key in `run.json` of the recipe and batch of a fine-tuning."""

_EPOCH_KEYS = ("begin", "end", "T_max", "step_size")
_run_numbers = itertools.count()


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Args:
        model: name or path of a config. None for the default of this machine, or the model of the run that is resumed.
        data: dataset. None for the one that the config names.
        epochs: number of epochs without a recipe. The learning rate schedule is scaled to it.
        loss: classification loss of all heads, a key of `brs_detr.config.losses.LOSSES`. By default that of the config,
            or of the run that is resumed.
        by_recipe: choose schedule, augmentation and batch by a recipe, with `weights`, `batch` and `settings`.

    The other fields are arguments of `brs_detr.training.train.train` and `finetune`.
    """

    model: str | None
    data: str | Path | None
    work_dir: Path
    resume: bool = False
    amp: bool = False
    seed: int | None = None
    deterministic: bool = False
    overrides: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    trust_file: bool = False
    epochs: int | None = None
    loss: str | None = None
    by_recipe: bool = False
    weights: str | None = None
    batch: int | Literal["auto"] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ResolvedRun:
    """A run that is ready to start.

    Args:
        request: what the user asked for, merged with the settings of the run that is resumed.
        config: the final config for mmengine's runner.
        checkpoint: checkpoint to resume from. None for a new run.
        weights: weights to start from. None if the config names them.
        plan: recipe and batch. None for the config's own schedule.
        reasons: rows of the printed plan, with the reason for each value.
        record: content of `run.json` when the run starts.
    """

    request: Request
    config: Config
    checkpoint: Path | None
    weights: StartingWeights | None
    plan: TrainingPlan | None
    reasons: tuple[Row, ...]
    record: dict[str, Any]

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return RunFolder(self.request.work_dir)


def resolve(
    request: Request, console: Console, annotations: Path | None = None, processes: Mapping[str, Any] | None = None
) -> ResolvedRun:
    """Resolve everything about a run. Writes nothing except annotation files that the dataset lacks.

    Args:
        request: what the user asks for.
        console: where to print warnings about the data.
        annotations: folder for these annotation files, by default in the run folder.
        processes: config values for training on several processes.

    Raises:
        UserError: the model, weights, data or a setting cannot be used, the folder already holds a run, or there is
            nothing to resume.
    """
    folder = RunFolder(request.work_dir)
    before = _record_to_resume(request, folder)
    if before is not None and request.by_recipe:
        request = _with_recorded(request, before)
    config_name = find_model(request.model or default_model()[0]) if request.by_recipe else str(request.model)
    loss = request.loss or (before or {}).get("loss")
    if loss is not None:
        config_name = config_with_loss(config_name, loss)
    settings, assignments = split_assignments(request.overrides) if request.by_recipe else ({}, request.overrides)
    register()
    config = load_config(config_name)
    if loss is not None:
        set_loss(config, loss)
    apply_overrides(config._cfg_dict, assignments)
    for key, value in (processes or {}).items():
        config[key] = value
    checkpoint = checkpoint_to_resume(folder, console, request.trust_file) if request.resume else None
    weights = _choose_weights(request, config, before)
    _use_data(request, config, annotations or folder.data, before, console)
    seed = _draw_seed(request.seed) if before is None else int(before["seed"])

    plan: TrainingPlan | None = None
    reasons: tuple[Row, ...] = ()
    if weights is not None:
        facts = measure_facts(split_of(config, "train"), [split_of(config, "val")])
        plan = decide(
            config,
            weights.start,
            facts,
            batch=request.batch,
            settings={**settings, **request.settings},
            assignments=assignments,
            amp=request.amp,
            resumed=None if before is None else before[RECIPE_RECORD],
        )
        shown = resolution_for(config, plan.recipe), needed_queries(config, plan), bool(ranking_heads(config.model))
        reasons = tuple(recipe_rows(plan, *shown))
        apply_recipe(config, plan)
        apply_overrides(config._cfg_dict, assignments)
    elif request.epochs is not None:
        set_epochs(config, request.epochs)
    _set_running(config, request, seed, checkpoint)

    differing = differing_losses(config.model)
    if differing is not None:
        console.print(f"Warning: the heads have different losses. {differing}", markup=False)
    record = describe_run(
        config_name=config_name,
        config=config,
        class_names=config_class_names(config),
        data=str(request.data) if request.data else None,
        splits={phase: split_of(config, phase) for phase in ("train", "val")},
        seed=seed,
        amp=request.amp,
        deterministic=request.deterministic,
        overrides=request.overrides,
    )
    if loss is not None:
        record["loss"] = loss
    if plan is not None and weights is not None:
        record[RECIPE_RECORD] = {
            "weights": weights.source,
            "start": plan.start,
            "recipe": asdict(plan.recipe),
            "asked": sorted(plan.asked),
            "batch": plan.batch.batch,
            "effective_batch": plan.batch.effective,
            "learning_rate": plan.learning_rate,
        }
    return ResolvedRun(request, config, checkpoint, weights, plan, reasons, record)


def _record_to_resume(request: Request, folder: RunFolder) -> dict[str, Any] | None:
    """Return the record of the run to resume, or None for a new run, whose folder must not contain one."""
    if not request.resume:
        if folder.can_resume or folder.best.exists():
            raise UserError(
                f"{folder.path} already holds a training run.",
                "Add --resume to continue it, or choose another folder with --work-dir DIR.",
            )
        return None
    require_resumable(folder)
    record = read_record(folder)
    if request.by_recipe and RECIPE_RECORD not in record:
        raise UserError(
            f"{folder.path} was not trained by finetune.", "Continue it with `brs-detr train ... --resume`."
        )
    return record


def _with_recorded(request: Request, record: Mapping[str, Any]) -> Request:
    """Add the model and the settings of the run that is resumed. What the user asks for now takes precedence.

    Raises:
        UserError: the record names a config file, or a setting that could run code, and the user neither trusts it nor
            repeats it.
    """
    config = str(record["config"])
    if not request.trust_file:
        if request.model is None and Path(config).suffix == ".py":
            raise UserError(
                f"{request.work_dir} was trained with the config file {config}, a program that would run.",
                f"If you trust it, add --model {config}.",
            )
        recorded = [override for override in record["overrides"] if override not in request.overrides]
        unsafe = [override for override in recorded if not is_harmless(parse_value(override.partition("=")[2].strip()))]
        if unsafe:
            raise UserError(
                f"{request.work_dir} was trained with settings that are more than numbers and names: "
                f"{', '.join(unsafe)}.",
                "If you trust them, add --trust-file, or repeat them with --set.",
            )
    overrides = tuple(dict.fromkeys((*record["overrides"], *request.overrides)))
    return replace(request, model=request.model or config, amp=request.amp or record["amp"], overrides=overrides)


def _choose_weights(request: Request, config: Config, before: Mapping[str, Any] | None) -> StartingWeights | None:
    """Return the weights that a recipe starts from. Without a recipe, mmengine loads those that the config names."""
    if not request.by_recipe:
        if before is None:
            fetch_weights(config)
        return None
    if before is None:
        return choose_weights(config, request.weights, request.trust_file)
    return no_weights(config, before[RECIPE_RECORD]["start"], before[RECIPE_RECORD]["weights"])


def _use_data(
    request: Request, config: Config, annotations: Path, before: Mapping[str, Any] | None, console: Console
) -> None:
    """Point the config at the data, and adapt the model to its classes, which must be those of a run to resume."""
    class_names = (before or {}).get("class_names") or None
    if request.data is not None:
        use_folder(config, request.data, annotations, console, class_names)
    else:
        use_config_data(config, class_names)
        check_data(config, ("train", "val"), console)


def _draw_seed(asked: int | None) -> int:
    from mmengine.dist import sync_random_seed

    return sync_random_seed() if asked is None else asked


def set_epochs(config: Config, epochs: int) -> None:
    """Set the number of epochs of a config in place, and scale its learning rate schedule accordingly."""
    ratio = epochs / config.train_cfg.max_epochs
    config.train_cfg.max_epochs = epochs
    schedulers = config.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        if scheduler.get("by_epoch", True):
            stretched = {key: scheduler[key] for key in _EPOCH_KEYS if scheduler.get(key)}
            scheduler.update({key: max(1, round(number * ratio)) for key, number in stretched.items()})
            if "milestones" in scheduler:
                scheduler["milestones"] = [max(1, round(milestone * ratio)) for milestone in scheduler["milestones"]]


def _set_running(config: Config, request: Request, seed: int, checkpoint: Path | None) -> None:
    """Set what all runs have in common: loaders, seeds, optimizer wrapper, hooks and loggers."""
    if config.get("fsdp") and any(hook["type"] == "EMAHook" for hook in config.get("custom_hooks") or []):
        raise UserError("A sharded model cannot have a moving average.", "Add --no-ema, or --set fsdp=False.")
    mend_workers(config)
    seed_by_step(config)
    config.work_dir = str(request.work_dir)
    config.randomness = {**config.get("randomness", {}), "seed": seed}
    if checkpoint is not None:
        config.resume, config.load_from = True, str(checkpoint)
    if request.amp:
        config.optim_wrapper.type = "AutocastOptimWrapper"
    elif config.optim_wrapper.get("type", "OptimWrapper") == "OptimWrapper":
        config.optim_wrapper.type = "GuardedOptimWrapper"
    config.default_hooks = {**config.get("default_hooks", {}), "checkpoint": None}  # replaced by KeepLastAndBest
    # mmengine caches loggers, message hubs and visualizers by name, which two runs in one process must not share.
    config.experiment_name = f"{request.work_dir.name}-{next(_run_numbers)}"
    images_per_step = config.train_dataloader.batch_size * num_processes()
    set_loggers(config, request.services, images_per_step, request.work_dir.name)
    config.visualizer.pop("name", None)


def seed_by_step(config: Config) -> None:
    """Make random numbers depend only on the seed and the position in the training. Changes the config in place."""
    hooks = [hook for hook in config.get("custom_hooks") or [] if hook["type"] != "SeedSteps"]  # from an earlier run
    config.custom_hooks = [*hooks, {"type": "SeedSteps"}]
    config.train_dataloader.persistent_workers = False  # they would not notice the next epoch


def print_plan(request: Request, console: Console) -> None:
    """Print what a training would do, and why. Writes nothing except downloaded weights.

    Raises:
        UserError: see `resolve`.
    """
    run = resolve(request, console, annotations=temporary_folder())
    print_run(run, console)
    where = f"Would resume from {run.checkpoint} in" if run.checkpoint else "Would write to"
    console.print(f"{where} {request.work_dir}/. Nothing was written.", markup=False)


def print_run(run: ResolvedRun, console: Console) -> None:
    """Print the model, the data, the weights, and the recipe with a reason for each line."""
    name, reason = (run.request.model, "") if run.request.model else default_model()
    model = f"Model {name}: {run.record['config']}" + f" ({reason})" * bool(reason)
    counts = ", ".join(f"{split['images']} {phase} images" for phase, split in run.record["splits"].items())
    console.print(model, markup=False)
    data = run.request.data or "as in the config"
    console.print(f"Data: {data}: {counts}, {len(run.record['class_names'])} classes", markup=False)
    if run.plan is None or run.weights is None:
        return
    console.print(f"Weights: {run.weights.source}", markup=False)
    console.print(recipe_table(run.reasons))
    objects, queries = run.plan.facts.max_objects, needed_queries(run.config, run.plan)
    if queries is not None and queries < objects:
        console.print(
            f"One image has {objects} objects, but the model has only {queries} queries. Add --queries {objects}.",
            markup=False,
        )
