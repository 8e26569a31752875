"""The stages of a backbone, to freeze the first ones and let the early ones learn slower."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any


def stage_names(backbone: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Beginnings of the names of parameters: those of the stem, then those of each stage.

    Args:
        backbone: its config.

    Returns:
        Nothing where the kind of backbone is not known.
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
    """Keys of mmengine's `paramwise_cfg.custom_keys`.

    Args:
        backbone: its config.
        backbone_lr: multiplier of the learning rate for the last stage.
        layer_decay: each stage has this times the multiplier of the next one.
    """
    keys = {"backbone": {"lr_mult": backbone_lr}}
    stages = stage_names(backbone) if layer_decay < 1 else []
    for place, names in enumerate(stages):
        multiplier = backbone_lr * layer_decay ** (len(stages) - 1 - place)
        keys |= {f"backbone.{name}": {"lr_mult": multiplier} for name in names}
    return keys


def freeze_stages(backbone: MutableMapping[str, Any], frozen_stages: int) -> None:
    """Freeze the stem and the first stages in the config of a backbone, in place, if its kind is known."""
    if stage_names(backbone):
        backbone["frozen_stages"] = frozen_stages
