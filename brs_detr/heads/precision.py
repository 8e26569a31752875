"""Where mixed precision ends: logits, matching and losses have all their digits."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def in_full_precision(layer: nn.Module, feats: Tensor) -> Tensor:
    """Run the last layer of a branch in the dtype of its weights, whatever autocast says.

    bfloat16 has 8 binary digits. Among 20,000 locations most scores would be tied, and neither a ranking loss nor a
    choice of the best can work with that.

    Args:
        layer: with a `weight`.
        feats: what it takes.
    """
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if feats.is_meta:  # shapes alone, for which there is no autocast
        return layer(feats)  # type: ignore[no-any-return]
    with torch.autocast(feats.device.type, enabled=False):
        output: Tensor = layer(feats.to(weight.dtype))
    return output
