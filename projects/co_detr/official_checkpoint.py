"""Names of the official Co-DETR and BRS-DETR checkpoints (mmdet 2.25) in this package."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from brs_detr.mm.backbones import swin_names

_BACKBONE = "backbone."
_RENAMED = (
    (r"^roi_head\.0\.", "roi_head."),
    (r"^bbox_head\.0\.", "atss_head."),
    (r"(transformer\.encoder\.layers\.\d+)\.attentions\.0\.", r"\1.self_attn."),
    (r"(transformer\.decoder\.layers\.\d+)\.attentions\.0\.", r"\1.self_attn."),
    (r"(transformer\.decoder\.layers\.\d+)\.attentions\.1\.", r"\1.cross_attn."),
    (r"(transformer\.\w+\.layers\.\d+)\.ffns\.0\.", r"\1.ffn."),
    (r"transformer\.head_pos_embed\.weight$", "transformer.head_pos_embed"),
)


def rename_key(key: str) -> str:
    """Our name of an official parameter or buffer."""
    for pattern, replacement in _RENAMED:
        key = re.sub(pattern, replacement, key)
    return key


def rename_state_dict(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole official state dict under our names; of Swin, mmdet 3 wants some tensors in another order."""
    renamed = {rename_key(key): value for key, value in official.items()}
    swin = swin_names(
        {key.removeprefix(_BACKBONE): value for key, value in renamed.items() if key.startswith(_BACKBONE)}
    )
    others = {key: value for key, value in renamed.items() if not key.startswith(_BACKBONE)}
    return swin | others if swin else renamed
