"""Numerical precision for ranking and matching, and protection from predictions that are not finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def in_full_precision(layer: nn.Module, feats: Tensor) -> Tensor:
    """Run the last layer of a branch in the dtype of its weights, with autocast disabled.

    bfloat16 has 8 significant bits: most scores of 20,000 locations would tie, so they could not be ranked.
    """
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if feats.is_meta:  # autocast does not support the meta device
        return layer(feats)  # type: ignore[no-any-return]
    with torch.autocast(feats.device.type, enabled=False):
        output: Tensor = layer(feats.to(weight.dtype))
    return output


def finite_or_zero(values: Tensor) -> tuple[Tensor, Tensor]:
    """Replace all values by zeros if one of them is NaN or infinite.

    Matching and ranking cannot handle such values; on a GPU they would end the process. The check does not synchronise
    host and device.

    Returns:
        The values, and a scalar to add to the loss: 0 if all values are finite, otherwise NaN.
    """
    total = values.detach().sum()
    verdict = 0 * total
    if values.device.type == "cpu" and total.isfinite():
        return values, verdict
    return torch.where(total.isfinite(), values, 0), verdict
