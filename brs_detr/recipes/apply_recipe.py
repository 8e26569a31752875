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

_MEAN_REACH = 0.05  # share of the run that the moving mean of the weights reaches back over
_NUM_SCALES = 6


def apply_recipe(config: Config, plan: TrainingPlan) -> None:
    """Make a config train as planned.

    Args:
        config: of any detector, with its data set; changed in place. Its own schedule, learning rate and train pipeline
            are replaced.
        plan: the recipe, and what it comes to with the data.
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
    """(long side, short side) that images are resized into; None where they keep their size."""
    return recipe.resolution or resolution_of(inner_dataset(config, "val").pipeline)


def resolution_of(pipeline: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """(long side, short side) that a test pipeline resizes images into; None where it does not."""
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
    """Freeze stages, and train BatchNorm only from random weights: a few images give no statistics to rely on."""
    if stage_names(backbone):
        backbone["frozen_stages"] = plan.recipe.frozen_stages
    if "norm_eval" in backbone:
        backbone["norm_eval"] = plan.start != "nothing"
        if plan.start == "nothing":
            backbone["norm_cfg"] = {**backbone.get("norm_cfg", {"type": "BN"}), "requires_grad": True}


def stage_names(backbone: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Prefixes of the parameter names of the stem and of each stage; nothing where the kind of backbone is not known.

    Args:
        backbone: its config.
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
    """Entries of mmengine's `paramwise_cfg.custom_keys` for a backbone.

    Args:
        backbone: its config.
        backbone_lr: multiplier of the learning rate for the last stage.
        layer_decay: factor between the multipliers of a stage and the next one.
    """
    keys = {"backbone": {"lr_mult": backbone_lr}}
    stages = stage_names(backbone) if layer_decay < 1 else []
    for index, names in enumerate(stages):
        multiplier = backbone_lr * layer_decay ** (len(stages) - 1 - index)
        keys |= {f"backbone.{name}": {"lr_mult": multiplier} for name in names}
    return keys


def ranking_heads(model: ModelPart) -> list[ModelPart]:
    """Configs of the heads with ranking losses."""
    roi_head = model.get("roi_head") or {}
    heads = (model.get("query_head"), model.get("rpn_head"), roi_head.get("bbox_head"), model.get("atss_head"))
    return [head for head in heads if head and str(head["type"]).startswith("Ranking")]


def needed_queries(config: Config, plan: TrainingPlan) -> int | None:
    """Queries of the model: what it has, or half as many again as the most objects in an image.

    Returns:
        None for a detector without queries.
    """
    holder = _query_holder(config.model)
    if holder is None:
        return None
    return plan.recipe.queries or max(holder["num_queries"], _in_fifties(1.5 * plan.facts.max_objects))


def _set_queries(config: Config, plan: TrainingPlan) -> None:
    holder = _query_holder(config.model)
    if holder is None:
        return
    holder["num_queries"] = needed_queries(config, plan)
    test_cfg = config.model.test_cfg.get("query", config.model.test_cfg)
    if "max_per_img" in test_cfg:
        test_cfg["max_per_img"] = max(test_cfg["max_per_img"], _in_fifties(plan.facts.max_objects))


def _query_holder(model: ModelPart) -> ModelPart | None:
    """The part of a model's config that has `num_queries`."""
    parts = (model.get("query_head"), model)
    return next((part for part in parts if part and "num_queries" in part), None)


def _in_fifties(number: float) -> int:
    """Rounded up to a multiple of 50; 0 up to 50, which every model has."""
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
    """The transforms after loading (and mosaic): colour, flip, crop, size, packing."""
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
    """Resize to one of several sizes; where the model takes images as they are, by one of several factors."""
    low, high = recipe.multi_scale
    shares = _unique(round(low + (high - low) * step / (_NUM_SCALES - 1), 3) for step in range(_NUM_SCALES))
    if resolution is None:
        choices: list[Transform] = [{"type": "Resize", "scale_factor": share} for share in shares]
    else:  # as in DETR the short side varies, the long one is a limit
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
    if recipe.ema:  # of weights and BatchNorm statistics; gamma shortens its reach at the beginning
        reach = max(2.0, _MEAN_REACH * plan.iterations)
        mean = {"ema_type": "ExpMomentumEMA", "momentum": 1 / reach, "gamma": math.ceil(reach), "update_buffers": True}
        hooks.append({"type": "EMAHook", **mean})
    if recipe.patience:
        hooks.append({"type": "StopEarly", "patience": recipe.patience})
    return hooks
