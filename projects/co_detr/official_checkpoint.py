"""Renaming of weights of the official Co-DETR and BRS-DETR checkpoints (mmdet 2.25) and of our older ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from torch import Tensor

from brs_detr.mm.backbones import swin_names

_BACKBONE = "backbone."
_OFFICIAL = (
    (r"^roi_head\.0\.", "roi_head."),
    (r"^bbox_head\.0\.", "atss_head."),
    (r"(transformer\.encoder\.layers\.\d+)\.attentions\.0\.", r"\1.self_attn."),
    (r"(transformer\.decoder\.layers\.\d+)\.attentions\.0\.", r"\1.self_attn."),
    (r"(transformer\.decoder\.layers\.\d+)\.attentions\.1\.", r"\1.cross_attn."),
    (r"(transformer\.\w+\.layers\.\d+)\.ffns\.0\.", r"\1.ffn."),
    (r"transformer\.head_pos_embed\.weight$", "transformer.head_pos_embed"),
)
_OLDER = (  # the transformer, encoder included, was a part of the query head
    (r"^query_head\.transformer\.encoder\.", "encoder."),
    (r"^query_head\.transformer\.level_embeds$", "encoder.level_embeds"),
    (r"^query_head\.downsample\.", "encoder.downsample."),
    (r"^query_head\.transformer\.", "query_head."),
)


def rename_key(key: str) -> str:
    """Return today's name of a parameter or buffer of an official or older checkpoint."""
    for pattern, replacement in (*_OFFICIAL, *_OLDER):
        key = re.sub(pattern, replacement, key)
    return key


def rename_older(state_dict: MutableMapping[str, Any], prefix: str) -> None:
    """Rename the weights of an older checkpoint of ours, in place.

    Args:
        state_dict: weights of a model that contains a `CoDETR`.
        prefix: prefix of the names of that `CoDETR`.
    """
    for key in [key for key in state_dict if key.startswith(prefix)]:
        name = key[len(prefix) :]
        for pattern, replacement in _OLDER:
            name = re.sub(pattern, replacement, name)
        state_dict[prefix + name] = state_dict.pop(key)


def rename_state_dict(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename an official or older state dict, and reorder the Swin tensors that mmdet 3 stores in another order."""
    renamed = {rename_key(key): value for key, value in official.items()}
    swin = swin_names(
        {key.removeprefix(_BACKBONE): value for key, value in renamed.items() if key.startswith(_BACKBONE)}
    )
    others = {key: value for key, value in renamed.items() if not key.startswith(_BACKBONE)}
    return swin | others if swin else renamed
