"""timm's models as backbones, and Swin weights under mmdet's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_PATCH_MERGING = re.compile(r"^layers\.(\d+)\.downsample\.")


def register() -> None:
    """Register `TimmBackbone` with mmdet. Further calls change nothing."""
    from brs_detr.mm.platform import prepare

    prepare()
    from mmdet.registry import MODELS

    from brs_detr.mm.backbones.timm_backbone import TimmBackbone

    MODELS.register_module(module=TimmBackbone, force=True)


def swin_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a Swin under mmdet's names, which start with `backbone.`; empty for other models.

    Patches are merged at the start of a stage in timm and at the end of one elsewhere. mmdet merges the four patches in
    another order, so that the tensors of this step are reordered.

    Args:
        state_dict: weights with names such as `layers.0.blocks.0.attn.qkv.weight`.
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
