"""The config for training a row: the shipped one, with the user's data and the paper's batch size on these GPUs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brs_detr.config.config import load_config
from brs_detr.config.folder_data import inner_dataset
from brs_detr.config.losses import set_loss
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.reproduce.plan import Batch

if TYPE_CHECKING:
    from mmengine import Config

OFFICIAL_LOWEST_SCORE, OFFICIAL_LOWEST_SCORE_LVIS = 0.4, 0.6
"""Score thresholds of the official multi-stage detectors with ranking losses, see docs/official-behaviour.md."""

_PATH_KEYS = ("data_root", "ann_file", "data_prefix")

WIDTH = 64
SIDES = (48, 64, 80)  # pixels, where the paper has 480 to 800
_WIDTHS = ("embed_dims", "in_channels", "out_channels", "feat_channels", "conv_out_channels")
_FULLY_CONNECTED = 32
_BASE_CHANNELS = 8
_SMALL_SWIN: dict[str, Any] = {"embed_dims": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}


def make_recipe(
    config_name: str, batch: Batch, splits: Mapping[str, CocoSplit], smoke: bool, loss: str | None = None
) -> Config:
    """Resolve the config of a row.

    Args:
        config_name: name of a shipped config.
        batch: how the images of a step are divided. Each accumulated batch is ranked by itself, as the official code
            ranks within each GPU.
        splits: `train` and `val`.
        smoke: make the model and the images small, to test every step.
        loss: ranking loss of all heads, a key of `brs_detr.config.losses.LOSSES`. By default that of the config.
    """
    config = load_config(config_name)
    if loss is not None:
        set_loss(config, loss)
    lowest_score = OFFICIAL_LOWEST_SCORE_LVIS if "lvis" in config_name else OFFICIAL_LOWEST_SCORE
    _set_official_threshold(config.model, lowest_score)
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


def _set_official_threshold(model: Mapping[str, Any], lowest_score: float) -> None:
    """Drop low scores in second stages with ranking losses, as the official code does except for Co-DETR."""
    heads = (model.get("roi_head") or {}).get("bbox_head") or []
    for head in [] if "query_head" in model else heads if isinstance(heads, list) else [heads]:
        if head["type"] == "RankingShared2FCBBoxHead":
            head["lowest_score"] = lowest_score


def recipe_hash(config: Config) -> str:
    """Return the SHA-256 of a recipe without the paths of the data."""
    config = copy.deepcopy(config)
    for phase in ("train", "val", "test"):
        dataset = inner_dataset(config, phase)
        for name in _PATH_KEYS:
            dataset.pop(name, None)
        config.get(f"{phase}_evaluator", {}).pop("ann_file", None)
    return hashlib.sha256(config.pretty_text.encode()).hexdigest()


def shrink(config: Config) -> None:
    """Shrink the model and the images, and use no workers, in place. Losses, samplers and schedule do not change."""
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
    """Shrink a backbone, and return the number of channels of each stage."""
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
    """Set every width of 256 and every feed-forward width to `WIDTH`, and stacked convolutions to one."""
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
    """Set the image sizes in a pipeline to a tenth."""
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
