"""The config that a row is trained with: the shipped one, on this data, with the paper's batch on these GPUs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brs_detr.config.config import load_config
from brs_detr.config.folder_data import inner_dataset
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.reproduce.batch import Batch
from brs_detr.reproduce.shrink import shrink

if TYPE_CHECKING:
    from mmengine import Config

OFFICIAL_LOWEST_SCORE, OFFICIAL_LOWEST_SCORE_LVIS = 0.4, 0.6
"""Of the official multi-stage detectors with ranking losses; see docs/official-behaviour.md."""

_PLACES = ("data_root", "ann_file", "data_prefix")


def make_recipe(config_name: str, batch: Batch, splits: Mapping[str, CocoSplit], smoke: bool) -> Config:
    """Resolve the config of a row.

    Args:
        config_name: a shipped config.
        batch: how the effective batch comes about. What is accumulated is ranked image pair by image pair, as the
            official code ranks within each GPU.
        splits: `train` and `val`.
        smoke: make the model and the pictures small, for a trial of the machinery.
    """
    config = load_config(config_name)
    _cut_as_official(config.model, OFFICIAL_LOWEST_SCORE_LVIS if "lvis" in config_name else OFFICIAL_LOWEST_SCORE)
    if smoke:
        shrink(config)
    for phase in ("train", "val", "test"):
        split = splits["train" if phase == "train" else "val"]
        dataset = inner_dataset(config, phase)
        dataset.data_root, dataset.ann_file = "", str(split.annotation_file)
        dataset.data_prefix = {"img": str(split.image_dir)}
        if phase != "train":
            config[f"{phase}_evaluator"].ann_file = str(split.annotation_file)
    config.train_dataloader.batch_size = batch.images_per_process
    if batch.accumulation > 1:
        config.optim_wrapper.accumulative_counts = batch.accumulation
    return config


def _cut_as_official(model: Mapping[str, Any], lowest_score: float) -> None:
    """Let second stages that rank drop low scores, as the figures of the paper were measured; Co-DETR's do not."""
    heads = (model.get("roi_head") or {}).get("bbox_head") or []
    for head in [] if "query_head" in model else heads if isinstance(heads, list) else [heads]:
        if head["type"] == "RankingShared2FCBBoxHead":
            head["lowest_score"] = lowest_score


def recipe_hash(config: Config) -> str:
    """SHA-256 of a recipe, the same wherever the data lie."""
    kept = copy.deepcopy(config)
    for phase in ("train", "val", "test"):
        dataset = inner_dataset(kept, phase)
        for name in _PLACES:
            dataset.pop(name, None)
        kept.get(f"{phase}_evaluator", {}).pop("ann_file", None)
    return hashlib.sha256(kept.pretty_text.encode()).hexdigest()
