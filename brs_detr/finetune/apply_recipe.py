"""Write a recipe into the config of a model."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from brs_detr.checkpoints.weights_file import Start
from brs_detr.config.config import OWN_LOOP, with_own_loop
from brs_detr.config.folder_data import inner_dataset
from brs_detr.finetune.augmentation import (
    changing_steps,
    loading_steps,
    mosaic_step,
    resolution_of,
    set_resolution,
)
from brs_detr.finetune.backbone_stages import freeze_stages, learning_rate_keys
from brs_detr.finetune.recipe import Recipe
from brs_detr.finetune.tuning import Tuning

if TYPE_CHECKING:
    from mmengine import Config

_MEAN_REACH = 0.05
"""The moving mean reaches back over this share of the run."""


def needed_queries(config: Config, tuning: Tuning) -> int | None:
    """Queries of the model: what it has, or half as many again as there are objects in the fullest image.

    Returns:
        None for a detector without queries.
    """
    holder = _query_holder(config.model)
    if holder is None:
        return None
    if tuning.recipe.queries is not None:
        return tuning.recipe.queries
    return max(holder["num_queries"], _in_fifties(1.5 * tuning.facts.max_objects))


def resolution_for(config: Config, recipe: Recipe) -> tuple[int, int] | None:
    """(long side, short side) that images are resized into."""
    return recipe.resolution or resolution_of(inner_dataset(config, "val").pipeline)


def ranking_heads(model: MutableMapping[str, Any]) -> list[MutableMapping[str, Any]]:
    """Configs of the heads with ranking losses."""
    roi_head = model.get("roi_head") or {}
    heads = (model.get("query_head"), model.get("rpn_head"), roi_head.get("bbox_head"), model.get("atss_head"))
    return [head for head in heads if head and str(head["type"]).startswith("Ranking")]


def apply_recipe(config: Config, tuning: Tuning) -> None:
    """Make a config train as was decided.

    Args:
        config: of any detector of mmdet or ours, with its data set; changed in place. Its own schedule, learning rate
            and train pipeline are replaced.
        tuning: what was decided.
    """
    recipe, resolution = tuning.recipe, resolution_for(config, tuning.recipe)
    _set_schedule(config, tuning)
    _set_optimizer(config, tuning)
    _set_backbone(config.model.backbone, recipe, tuning.start)
    _set_queries(config, tuning)
    if recipe.joint_ranking:
        for head in ranking_heads(config.model):
            head["ranking_memory"] = tuning.plan.accumulation - 1
    for phase in ("val", "test"):
        if resolution:
            set_resolution(inner_dataset(config, phase).pipeline, resolution)
    _set_train_data(config, recipe, resolution, tuning.plan.batch)
    config.custom_hooks = [*config.get("custom_hooks", []), *_hooks(tuning)]


def _set_schedule(config: Config, tuning: Tuning) -> None:
    epochs = tuning.epochs
    config.train_cfg = with_own_loop(
        {
            **{name: value for name, value in config.train_cfg.items() if name in OWN_LOOP},
            "by_epoch": True,
            "max_epochs": epochs,
            "val_interval": tuning.val_interval,
        }
    )
    warmup = round(tuning.recipe.warmup * tuning.iterations)
    schedule: list[dict[str, Any]] = []
    if warmup > 1:
        schedule.append({"type": "LinearLR", "start_factor": 0.01, "begin": 0, "end": warmup, "by_epoch": False})
    if tuning.recipe.schedule == "cosine":
        cosine = {"type": "CosineAnnealingLR", "eta_min_ratio": 0.02, "begin": 0, "end": epochs}
        schedule.append({**cosine, "by_epoch": True, "convert_to_iter_based": True})
    else:
        milestones = sorted({max(1, round(epochs * part / 12)) for part in (10, 11)})
        steps = {"type": "MultiStepLR", "milestones": milestones, "gamma": 0.2, "begin": 0, "end": epochs}
        schedule.append({**steps, "by_epoch": True})
    config.param_scheduler = schedule


def _set_optimizer(config: Config, tuning: Tuning) -> None:
    wrapper, recipe = config.optim_wrapper, tuning.recipe
    wrapper.optimizer.lr = tuning.learning_rate
    wrapper.accumulative_counts = tuning.plan.accumulation
    paramwise = wrapper.setdefault("paramwise_cfg", {})
    keys = paramwise.get("custom_keys") or {}
    rates = learning_rate_keys(config.model.backbone, recipe.backbone_lr, recipe.layer_decay)
    paramwise["custom_keys"] = {**keys, **rates}


def _set_backbone(backbone: MutableMapping[str, Any], recipe: Recipe, start: Start) -> None:
    """Freeze, and fit BatchNorm to whether there are statistics: a few images give none to rely on."""
    freeze_stages(backbone, recipe.frozen_stages)
    if "norm_eval" in backbone:
        backbone["norm_eval"] = start != "nothing"
        if start == "nothing":
            backbone["norm_cfg"] = {**backbone.get("norm_cfg", {"type": "BN"}), "requires_grad": True}


def _set_queries(config: Config, tuning: Tuning) -> None:
    holder, queries = _query_holder(config.model), needed_queries(config, tuning)
    if holder is None or queries is None:
        return
    holder["num_queries"] = queries
    test_cfg = config.model.test_cfg.get("query", config.model.test_cfg)
    if "max_per_img" in test_cfg:
        test_cfg["max_per_img"] = max(test_cfg["max_per_img"], _in_fifties(tuning.facts.max_objects))


def _in_fifties(number: float) -> int:
    """Rounded up to a multiple of 50; nothing below 50 asks for more than a model has."""
    return math.ceil(number / 50) * 50 if number > 50 else 0


def _query_holder(model: MutableMapping[str, Any]) -> MutableMapping[str, Any] | None:
    """The part of a model's config that has `num_queries`."""
    parts = (model.get("query_head"), model)
    return next((part for part in parts if part and "num_queries" in part), None)


def _set_train_data(config: Config, recipe: Recipe, resolution: tuple[int, int] | None, batch: int) -> None:
    loader = config.train_dataloader
    loader.batch_size = batch
    dataset = inner_dataset(config, "train")
    loading, changing = loading_steps(dataset.pipeline), changing_steps(recipe, resolution)
    if recipe.mosaic:
        dataset.pipeline = loading
        steps = [mosaic_step(resolution), *changing]
        loader.dataset = {"type": "MultiImageMixDataset", "dataset": loader.dataset, "pipeline": steps}
    else:
        dataset.pipeline = [*loading, *changing]


def _hooks(tuning: Tuning) -> list[dict[str, Any]]:
    recipe, epochs = tuning.recipe, tuning.epochs
    hooks: list[dict[str, Any]] = []
    if recipe.mosaic:
        hooks.append({"type": "CloseMosaic", "begin": epochs - max(1, round(recipe.plain_epochs * epochs))})
    if recipe.ema:
        hooks.append(_mean_hook(tuning.iterations))
    if recipe.patience:
        hooks.append({"type": "StopEarly", "patience": recipe.patience})
    return hooks


def _mean_hook(iterations: int) -> dict[str, Any]:
    """Mean of the weights and of BatchNorm's statistics, over less of the past at the beginning."""
    reach = max(2.0, _MEAN_REACH * iterations)
    mean = {"ema_type": "ExpMomentumEMA", "momentum": 1 / reach, "gamma": math.ceil(reach), "update_buffers": True}
    return {"type": "EMAHook", **mean}
