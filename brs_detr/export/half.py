"""Half precision for the products that make up a model's weights; everything else keeps its digits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KEPT_NAMES = (
    *("cls_branches", "reg_branches", "enc_output", "pos_trans", "downsample", "sampling_offsets", "attention_weights"),
    *("rpn_cls", "rpn_reg", "atss_cls", "atss_reg", "atss_centerness", "fc_cls", "fc_reg"),
)
"""Layers of logits, boxes and places: half precision ties scores and moves boxes by pixels."""


class HalfLayer(nn.Module):
    """A layer that multiplies in half precision, and takes and gives what it did before.

    Sums, norms, softmax and positions around it stay in float32: in float16 they overflow or lose their digits.
    """

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = layer.to(dtype)
        self.dtype = dtype

    def forward(self, feats: Tensor) -> Tensor:
        """Run the layer."""
        output: Tensor = self.layer(feats.to(self.dtype))
        return output.to(feats.dtype)


def halve(model: nn.Module, dtype: torch.dtype) -> int:
    """Put a `HalfLayer` around every convolution and linear layer of a model but those of `KEPT_NAMES`.

    Args:
        model: changed in place.
        dtype: `torch.float16` or `torch.bfloat16`.

    Returns:
        The number of layers that were changed.
    """
    chosen = [
        (parent, name, child)
        for path, parent in model.named_modules()
        if not isinstance(parent, nn.MultiheadAttention)  # it reads the weights of its layers
        for name, child in parent.named_children()
        if isinstance(child, (nn.Conv2d, nn.Linear)) and not _is_kept(f"{path}.{name}")
    ]
    for parent, name, child in chosen:
        setattr(parent, name, HalfLayer(child, dtype))
    return len(chosen)


def _is_kept(path: str) -> bool:
    return any(part in KEPT_NAMES for part in path.split("."))
