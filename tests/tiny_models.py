"""The tests' small detector as a model, with and without official names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from brs_detr.engine.config import load_config
from brs_detr.engine.folder_data import set_num_classes

_OFFICIAL = (
    (r"^roi_head\.", "roi_head.0."),
    (r"^atss_head\.", "bbox_head.0."),
    (r"(transformer\.encoder\.layers\.\d+)\.self_attn\.", r"\1.attentions.0."),
    (r"(transformer\.decoder\.layers\.\d+)\.self_attn\.", r"\1.attentions.0."),
    (r"(transformer\.decoder\.layers\.\d+)\.cross_attn\.", r"\1.attentions.1."),
    (r"(transformer\.\w+\.layers\.\d+)\.ffn\.", r"\1.ffns.0."),
    (r"transformer\.head_pos_embed$", "transformer.head_pos_embed.weight"),
)


def model_config(config: Path, num_classes: int):
    """Config of the model for so many classes."""
    init_default_scope("mmdet")
    loaded = load_config(config)
    set_num_classes(loaded.model, num_classes)
    return loaded.model


def build(config: Path, num_classes: int, seed: int = 0) -> nn.Module:
    """The model, initialised."""
    torch.manual_seed(seed)
    model = MODELS.build(model_config(config, num_classes))
    model.init_weights()
    return model


def official_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of the official code."""

    def renamed(key: str) -> str:
        for pattern, replacement in _OFFICIAL:
            key = re.sub(pattern, replacement, key)
        return key

    return {renamed(key): value for key, value in state_dict.items()}
