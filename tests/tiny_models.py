"""The tests' small detector as a model, with and without official names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from brs_detr.config.config import load_config
from brs_detr.config.folder_data import set_num_classes

_OLDER = (
    (r"^encoder\.downsample\.", "query_head.downsample."),
    (r"^encoder\.(level_embeds$)", r"query_head.transformer.\1"),
    (r"^encoder\.", "query_head.transformer.encoder."),
    (r"^query_head\.(decoder|enc_output|pos_|aux_pos|head_pos)", r"query_head.transformer.\1"),
)
"""To names of checkpoints made while the transformer was a part of the query head, as in the official code."""
_LAYERS = (
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


def older_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that our checkpoints had."""
    return _renamed(state_dict, _OLDER)


def official_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of the official code."""
    return _renamed(state_dict, _OLDER + _LAYERS)


def _renamed(state_dict: Mapping[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state_dict.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed


def enliven(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give a model random weights of which every one matters: no branch is multiplied by 0, as at the start."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator).to(tensor)

    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03 * normal(parameter)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.copy_(1 + 0.1 * normal(module.weight))
                module.running_mean.copy_(0.1 * normal(module.running_mean))
                module.running_var.copy_(1 + 0.1 * normal(module.running_var))
    return model


def write_checkpoint(model: nn.Module, config: Path, class_names: tuple[str, ...], path: Path) -> Path:
    """A checkpoint of the model as a training writes it."""
    loaded = load_config(config)
    set_num_classes(loaded.model, len(class_names))
    meta = {"cfg": loaded.pretty_text, "dataset_meta": {"classes": class_names}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, path)
    return path
