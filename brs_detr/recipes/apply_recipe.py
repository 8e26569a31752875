"""Write a plan into the config of a detector: schedule, learning rates, frozen stages, queries and augmentation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from brs_detr.config.config import OWN_LOOP, with_own_loop
from brs_detr.config.folder_data import inner_dataset
from brs_detr.recipes.plan import TrainingPlan
from brs_detr.recipes.recipe import Recipe

if TYPE_CHECKING:
    from mmengine import Config

Transform = dict[str, Any]
ModelPart = MutableMapping[str, Any]

_AVERAGE_SPAN = 0.05  # fraction of the run that the moving average of the weights spans
_NUM_SCALES = 6


def apply_recipe(config: Config, plan: TrainingPlan) -> None:
    """Make a config train as planned.

    Args:
        config: config of any detector with its dataset, changed in place. Its schedule, learning rate and training
            pipeline are replaced.
        plan: the recipe, fitted to the data.
    """
    recipe, resolution = plan.recipe, resolution_for(config, plan.recipe)
    _set_schedule(config, plan)
    _set_optimizer(config, plan)
    _set_backbone(config.model.backbone, plan)
    _set_queries(config, plan)
    if recipe.joint_ranking:
        for head in ranking_heads(config.model):
            head["ranking_memory"] = plan.batch.accumulation - 1
    if resolution:
        for step in (*inner_dataset(config, "val").pipeline, *inner_dataset(config, "test").pipeline):
            if step["type"] == "Resize":
                step.pop("scale_factor", None)
                step.update(scale=tuple(resolution), keep_ratio=True)
    _set_train_data(config, recipe, resolution, plan.batch.batch)
    config.custom_hooks = [*config.get("custom_hooks", []), *_hooks(plan)]


def resolution_for(config: Config, recipe: Recipe) -> tuple[int, int] | None:
    """Return the (long side, short side) that images are resized to fit, or None if they keep their size."""
    return recipe.resolution or resolution_of(inner_dataset(config, "val").pipeline)


def resolution_of(pipeline: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Return the (long side, short side) that a test pipeline resizes images to fit, or None if it does not resize."""
    resize = next((step for step in pipeline if step["type"] == "Resize"), None)
    scale = resize.get("scale") if resize else None
    return (max(scale), min(scale)) if scale else None


def _set_schedule(config: Config, plan: TrainingPlan) -> None:
    epochs = plan.epochs
    own = {name: value for name, value in config.train_cfg.items() if name in OWN_LOOP}
    loop = {"by_epoch": True, "max_epochs": epochs, "val_interval": plan.val_interval}
    config.train_cfg = with_own_loop({**own, **loop})
    warmup = round(plan.recipe.warmup * plan.iterations)
    schedule: list[dict[str, Any]] = []
    if warmup > 1:
        schedule.append({"type": "LinearLR", "start_factor": 0.01, "begin": 0, "end": warmup, "by_epoch": False})
    if plan.recipe.schedule == "cosine":
        cosine = {"type": "CosineAnnealingLR", "eta_min_ratio": 0.02, "begin": 0, "end": epochs}
        schedule.append({**cosine, "by_epoch": True, "convert_to_iter_based": True})
    else:
        milestones = sorted({max(1, round(epochs * part / 12)) for part in (10, 11)})
        steps = {"type": "MultiStepLR", "milestones": milestones, "gamma": 0.2, "begin": 0, "end": epochs}
        schedule.append({**steps, "by_epoch": True})
    config.param_scheduler = schedule


def _set_optimizer(config: Config, plan: TrainingPlan) -> None:
    wrapper = config.optim_wrapper
    wrapper.optimizer.lr = plan.learning_rate
    wrapper.accumulative_counts = plan.batch.accumulation
    paramwise = wrapper.setdefault("paramwise_cfg", {})
    rates = learning_rate_keys(config.model.backbone, plan.recipe.backbone_lr, plan.recipe.layer_decay)
    paramwise["custom_keys"] = {**(paramwise.get("custom_keys") or {}), **rates}


def _set_backbone(backbone: ModelPart, plan: TrainingPlan) -> None:
    """Freeze stages. BatchNorm is trained only from random weights, because small batches give poor statistics."""
    if stage_names(backbone):
        backbone["frozen_stages"] = plan.recipe.frozen_stages
    if "norm_eval" in backbone:
        backbone["norm_eval"] = plan.start != "nothing"
        if plan.start == "nothing" and backbone["type"] != "TimmBackbone":  # whose BatchNorm is always trained
            backbone["norm_cfg"] = {**backbone.get("norm_cfg", {"type": "BN"}), "requires_grad": True}


def stage_names(backbone: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the prefixes of the parameter names of the stem and each stage, or nothing for an unknown backbone.

    Args:
        backbone: config of the backbone.
    """
    kind = str(backbone["type"]).rpartition(".")[2]
    if kind.startswith("Res"):  # ResNet, ResNetV1d, ResNeXt, Res2Net
        stages = range(1, backbone.get("num_stages", 4) + 1)
        return [("conv1", "bn1", "stem"), *((f"layer{stage}",) for stage in stages)]
    if kind == "SwinTransformer":
        stages = range(len(backbone.get("depths", (2, 2, 6, 2))))
        return [("patch_embed", "absolute_pos_embed"), *((f"stages.{stage}", f"norm{stage}") for stage in stages)]
    return []


def learning_rate_keys(
    backbone: Mapping[str, Any], backbone_lr: float, layer_decay: float
) -> dict[str, dict[str, float]]:
    """Return the entries of mmengine's `paramwise_cfg.custom_keys` for a backbone.

    Args:
        backbone: config of the backbone.
        backbone_lr: learning rate multiplier of the last stage.
        layer_decay: ratio of the multipliers of a stage and the next one.
    """
    keys = {"backbone": {"lr_mult": backbone_lr}}
    stages = stage_names(backbone) if layer_decay < 1 else []
    for index, names in enumerate(stages):
        multiplier = backbone_lr * layer_decay ** (len(stages) - 1 - index)
        keys |= {f"backbone.{name}": {"lr_mult": multiplier} for name in names}
    return keys


def ranking_heads(model: ModelPart) -> list[ModelPart]:
    """Return the configs of the heads with ranking losses."""
    roi_head = model.get("roi_head") or {}
    heads = (model.get("query_head"), model.get("rpn_head"), roi_head.get("bbox_head"), model.get("atss_head"))
    return [head for head in heads if head and str(head["type"]).startswith("Ranking")]


def needed_queries(config: Config, plan: TrainingPlan) -> int | None:
    """Return the number of queries: as in the recipe or the model, but at least 1.5 times the most objects per image.

    Returns:
        The number of queries, or None for a detector without queries.
    """
    head = _find_query_head(config.model)
    if head is None:
        return None
    return plan.recipe.queries or max(head["num_queries"], _round_up(1.5 * plan.facts.max_objects))


def _set_queries(config: Config, plan: TrainingPlan) -> None:
    head = _find_query_head(config.model)
    if head is None:
        return
    head["num_queries"] = needed_queries(config, plan)
    test_cfg = config.model.test_cfg.get("query", config.model.test_cfg)
    if "max_per_img" in test_cfg:
        test_cfg["max_per_img"] = max(test_cfg["max_per_img"], _round_up(plan.facts.max_objects))


def _find_query_head(model: ModelPart) -> ModelPart | None:
    """Return the part of a model's config that has `num_queries`: the query head, or the model itself."""
    parts = (model.get("query_head"), model)
    return next((part for part in parts if part and "num_queries" in part), None)


def _round_up(number: float) -> int:
    """Round up to a multiple of 50, or return 0 for up to 50, since every model has 50 queries."""
    return math.ceil(number / 50) * 50 if number > 50 else 0


def _set_train_data(config: Config, recipe: Recipe, resolution: tuple[int, int] | None, batch: int) -> None:
    loader = config.train_dataloader
    loader.batch_size = batch
    dataset = inner_dataset(config, "train")
    loading: list[Transform] = [dict(step) for step in dataset.pipeline if str(step["type"]).startswith("Load")]
    if recipe.mosaic:
        dataset.pipeline = loading
        mosaic = {"type": "Mosaic", "img_scale": resolution or (640, 640), "pad_val": 114.0, "prob": 0.5}
        steps = [mosaic, *augmentation(recipe, resolution)]
        loader.dataset = {"type": "MultiImageMixDataset", "dataset": loader.dataset, "pipeline": steps}
    else:
        dataset.pipeline = [*loading, *augmentation(recipe, resolution)]


def augmentation(recipe: Recipe, resolution: tuple[int, int] | None) -> list[Transform]:
    """Return the transforms after loading (and mosaic): colour, flip, crop, resize, pack."""
    steps: list[Transform] = []
    if recipe.colour:
        steps.append({"type": "YOLOXHSVRandomAug"})
    if recipe.flip:
        steps.append({"type": "RandomFlip", "prob": recipe.flip})
    if recipe.crop:
        crop = dict(type="RandomCrop", crop_type="relative_range", crop_size=(0.5, 0.5), allow_negative_crop=True)
        steps.append({"type": "RandomApply", "transforms": [crop], "prob": recipe.crop})
    return [*steps, _resize(recipe, resolution), {"type": "PackDetInputs"}]


def _resize(recipe: Recipe, resolution: tuple[int, int] | None) -> Transform:
    """Resize to a random one of several sizes or, for a model that does not resize, by one of several factors."""
    low, high = recipe.multi_scale
    shares = _unique(round(low + (high - low) * step / (_NUM_SCALES - 1), 3) for step in range(_NUM_SCALES))
    if resolution is None:
        choices: list[Transform] = [{"type": "Resize", "scale_factor": share} for share in shares]
    else:  # as in DETR, the short side varies and the long side is limited
        long, short = resolution
        sides = _unique(max(1, round(short * share)) for share in shares)
        choices = [{"type": "Resize", "scale": (max(long, side), side), "keep_ratio": True} for side in sides]
    return {"type": "RandomChoice", "transforms": [[choice] for choice in choices]}


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _hooks(plan: TrainingPlan) -> list[dict[str, Any]]:
    recipe, epochs = plan.recipe, plan.epochs
    hooks: list[dict[str, Any]] = []
    if recipe.mosaic:
        hooks.append({"type": "CloseMosaic", "begin": epochs - max(1, round(recipe.plain_epochs * epochs))})
    if recipe.ema:  # gamma shortens the span at the beginning
        span = max(2.0, _AVERAGE_SPAN * plan.iterations)
        ema = {"ema_type": "ExpMomentumEMA", "momentum": 1 / span, "gamma": math.ceil(span), "update_buffers": True}
        hooks.append({"type": "EMAHook", **ema})
    if recipe.patience:
        hooks.append({"type": "StopEarly", "patience": recipe.patience})
    return hooks
