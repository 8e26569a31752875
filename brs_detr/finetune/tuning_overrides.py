"""What `--set KEY=VALUE` changes in a fine-tuning: a setting of the recipe, or a key of the model's config."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from brs_detr.config.overrides import parse_value
from brs_detr.errors import UserError, did_you_mean
from brs_detr.finetune.recipe import Recipe

_SET_BY_RECIPE = {
    "train_cfg.max_epochs": "--epochs N",
    "train_cfg.val_interval": "--set evaluations=N",
    "train_dataloader.batch_size": "--batch N",
    "train_dataloader.dataset.pipeline": "--set flip=0, crop, colour, multi_scale or mosaic",
    "optim_wrapper.accumulative_counts": "--batch N and --effective-batch N",
    "optim_wrapper.optimizer.lr": "--lr X",
    "optim_wrapper.paramwise_cfg.custom_keys.backbone": "--set backbone_lr=X and layer_decay=X",
    "param_scheduler": "--set schedule=cosine or step, and warmup=X",
    "model.backbone.frozen_stages": "--freeze N",
}


def split_assignments(assignments: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Tell settings of the recipe, which have no dot in their names, from keys of the config.

    Args:
        assignments: `key=value` each.

    Returns:
        Values by setting, and the other assignments.

    Raises:
        UserError: there is no such setting, or a key of the config is one that the recipe sets; the message names the
            way to do it.
    """
    settings: dict[str, Any] = {}
    others = []
    names = {field.name for field in fields(Recipe)}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        key = key.strip()
        if separator and key in names:
            settings[key] = parse_value(text.strip())
        elif separator and "." not in key:
            raise UserError(f"--set {key}: the recipe has no such setting.", did_you_mean(key, names))
        else:
            _require_free(key)
            others.append(assignment)
    return settings, others


def _require_free(key: str) -> None:
    for taken, instead in _SET_BY_RECIPE.items():
        if key == taken or key.startswith(f"{taken}."):
            raise UserError(f"--set {key}: the recipe sets it.", f"Use {instead}.")
