"""Backbones beyond mmdet's own, everything that timm has; and the weights of Swin under mmdet's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_PATCH_MERGING = re.compile(r"^layers\.(\d+)\.downsample\.")


def register() -> None:
    """Make `TimmBackbone` known to mmdet's configs; calling it again changes nothing."""
    from brs_detr.mm.platform import prepare

    prepare()
    from mmdet.registry import MODELS

    from brs_detr.mm.backbones.timm_backbone import TimmBackbone

    MODELS.register_module(module=TimmBackbone, force=True)


def swin_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a Swin under mmdet's names, which begin with `backbone.`; nothing for weights of another kind.

    In timm's the merging of patches opens a stage, in the others it closes one. mmdet's has the four patches that it
    merges in another order: the tensors concerned are re-ordered.

    Args:
        state_dict: names such as `layers.0.blocks.0.attn.qkv.weight`.
    """
    from mmdet.models.backbones.swin import swin_converter

    if "patch_embed.proj.weight" not in state_dict:
        return {}
    if not any(key.startswith("layers.0.downsample.") for key in state_dict):
        state_dict = {
            _PATCH_MERGING.sub(lambda found: f"layers.{int(found[1]) - 1}.downsample.", key): value
            for key, value in state_dict.items()
        }
    return dict(swin_converter(state_dict))
