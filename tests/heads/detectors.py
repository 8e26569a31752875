"""Every detector of `configs/ranking_losses`, small, on pictures of which one has no object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn

from brs_detr.config.config import import_modules, load_config
from brs_detr.config.folder_data import set_num_classes, use_split
from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import find_splits
from brs_detr.evaluation.loaders import register
from brs_detr.reproduce.recipe import shrink


def small_config(name: str, data: Path) -> Any:
    """A config of a tenth of its widths and pictures, that reads the made pictures; one for laptops as it is."""
    config = load_config(name)
    import_modules(config)
    register()
    init_default_scope("mmdet")
    if "_r18_" not in name and "_lite0_" not in name:
        shrink(config)
    splits = find_splits(data)
    names = tuple(category["name"] for category in read_annotations(splits["train"].annotation_file)["categories"])
    for phase in ("train", "val", "test"):
        use_split(config, phase, splits["train" if phase == "train" else "val"], names)
    set_num_classes(config.model, len(names))
    return config


def build(config: Any, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


def training_batch(config: Any) -> dict[str, Any]:
    """Two training pictures, the second without an object."""
    dataset = DATASETS.build(config.train_dataloader.dataset)
    full = next(item for item in dataset if len(item["data_samples"].gt_instances))
    empty = {**full, "data_samples": full["data_samples"].clone()}
    empty["data_samples"].gt_instances = full["data_samples"].gt_instances[:0]
    empty["inputs"] = torch.randint_like(full["inputs"], 256)
    return pseudo_collate([full, empty])


def losses_of(model: nn.Module, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """All losses of a batch; a list of levels counts as their sum."""
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode="loss")
    return {name: sum(value) if isinstance(value, list) else value for name, value in losses.items() if "loss" in name}
