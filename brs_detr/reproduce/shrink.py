"""Make a recipe small enough for a trial on a CPU: every part of it stays, a tenth as wide or less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brs_detr.config.folder_data import inner_dataset

if TYPE_CHECKING:
    from mmengine import Config

WIDTH = 64
SIDES = (48, 64, 80)  # pixels, where the paper has 480 to 800
_WIDTHS = ("embed_dims", "in_channels", "out_channels", "feat_channels", "conv_out_channels")
_FULLY_CONNECTED = 32
_BASE_CHANNELS = 8
_SMALL_SWIN: dict[str, Any] = {"embed_dims": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}


def shrink(config: Config) -> None:
    """Shrink the model, its pictures and its number of workers, in place. Losses, samplers and schedule stay."""
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
