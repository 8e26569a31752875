"""The config that a row is trained with: the shipped one, on this data, with the paper's batch on these GPUs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brs_detr.config.config import load_config
from brs_detr.config.folder_data import inner_dataset
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.reproduce.plan import Batch

if TYPE_CHECKING:
    from mmengine import Config

OFFICIAL_LOWEST_SCORE, OFFICIAL_LOWEST_SCORE_LVIS = 0.4, 0.6
"""Of the official multi-stage detectors with ranking losses; see docs/official-behaviour.md."""

_PLACES = ("data_root", "ann_file", "data_prefix")

WIDTH = 64
SIDES = (48, 64, 80)  # pixels, where the paper has 480 to 800
_WIDTHS = ("embed_dims", "in_channels", "out_channels", "feat_channels", "conv_out_channels")
_FULLY_CONNECTED = 32
_BASE_CHANNELS = 8
_SMALL_SWIN: dict[str, Any] = {"embed_dims": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}


def make_recipe(config_name: str, batch: Batch, splits: Mapping[str, CocoSplit], smoke: bool) -> Config:
    """Resolve the config of a row.

    Args:
        config_name: a shipped config.
        batch: how the effective batch comes about. What is accumulated is ranked image pair by image pair, as the
            official code ranks within each GPU.
        splits: `train` and `val`.
        smoke: make the model and the images small, for a trial of every step.
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


def shrink(config: Config) -> None:
    """Shrink the model, its images and its number of workers, in place. Losses, samplers and schedule stay."""
    model = config.model
    model.backbone.init_cfg = None
    stages = _shrink_backbone(model.backbone)
    model.neck.in_channels = stages[-len(model.neck.in_channels) :]
    _set_widths(model)
    if model.type == "CoDETR":
        _shrink_queries(model.query_head)
    for phase in ("train", "val", "test"):
        config[f"{phase}_dataloader"].update(num_workers=0, persistent_workers=False)
        _set_sides(inner_dataset(config, phase).pipeline)
    config.default_hooks.logger.interval = 1


def _shrink_backbone(backbone: Any) -> list[int]:
    """Channels of its stages."""
    if backbone.type == "SwinTransformer":
        backbone.update(_SMALL_SWIN)
        return [_SMALL_SWIN["embed_dims"] << stage for stage in range(4)]
    backbone.update(base_channels=_BASE_CHANNELS, depth=50)
    return [4 * _BASE_CHANNELS << stage for stage in range(4)]


def _shrink_queries(head: Any) -> None:
    head.num_queries = head.max_auxiliary_queries = 20
    transformer = head.transformer
    transformer.positional_encoding.num_feats = WIDTH // 2
    transformer.encoder.num_layers, transformer.decoder.num_layers = 1, 2


def _set_widths(node: Any) -> None:
    """Every width of 256 becomes `WIDTH`, every feed-forward as wide; branches of several convolutions have one."""
    if not isinstance(node, dict):
        for child in node if isinstance(node, (list, tuple)) else ():
            _set_widths(child)
        return
    for name, value in node.items():
        if name == "feedforward_channels" or (name in _WIDTHS and value == 256):
            node[name] = WIDTH
        elif name == "fc_out_channels":
            node[name] = _FULLY_CONNECTED
        elif name in ("stacked_convs", "num_convs"):
            node[name] = 1
        else:
            _set_widths(value)


def _set_sides(steps: list[Any]) -> None:
    """The transforms of a pipeline with sizes of a tenth."""
    for step in steps:
        if isinstance(step, list):
            _set_sides(step)
        elif step["type"] == "RandomChoice":
            _set_sides(step["transforms"])
        elif step["type"] == "RandomChoiceResize":
            step["scales"] = [(side, 2 * SIDES[-1]) for side in SIDES]
        elif step["type"] == "RandomResize":
            step["scale"] = [(2 * SIDES[-1], side) for side in SIDES[::2]]
        elif step["type"] == "RandomCrop":
            step["crop_size"] = (SIDES[0] // 2, SIDES[0])
        elif step["type"] == "Resize":
            step["scale"] = (2 * SIDES[-1], SIDES[-1])
