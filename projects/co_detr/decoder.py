"""The decoder of Co-Deformable-DETR and its queries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.layers import DeformableDetrTransformerDecoder, inverse_sigmoid
from torch import Tensor, nn

from co_detr.encoder import EncodedFeatures, attention_inputs


@dataclass(frozen=True)
class EncoderProposals:
    """A box and class logits for each encoder token.

    Args:
        logits: ``[B, T, num_classes]``; column 0 is the objectness, by which queries are selected.
        box_logits: ``[B, T, 4]`` boxes before the sigmoid; infinite for invalid tokens.
    """

    logits: Tensor
    box_logits: Tensor


@dataclass(frozen=True)
class DecoderQueries:
    """Decoder input: ``content`` and ``position`` ``[B, Q, C]``, ``reference_boxes`` ``[B, Q, 4]``."""

    content: Tensor
    position: Tensor
    reference_boxes: Tensor


class LookForwardTwiceDecoder(DeformableDetrTransformerDecoder):
    """Deformable DETR's decoder with box gradients into the previous layer ("look forward twice", DINO)."""

    def forward(
        self,
        queries: DecoderQueries,
        encoded: EncodedFeatures,
        reg_branches: nn.ModuleList,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run all L layers.

        Args:
            queries: Q queries per image.
            encoded: encoder output.
            reg_branches: box branch of each layer.
            attn_mask: ``[Q, Q]``, true where the query of a row must not attend to that of a column.

        Returns:
            Outputs ``[L, B, Q, C]`` and predicted boxes ``[L, B, Q, 4]`` of the layers.
        """
        hidden, reference, ratios = queries.content, queries.reference_boxes, encoded.valid_ratios
        level_scale = torch.cat([ratios, ratios], -1)[:, None]  # [B, 1, levels, 4]
        attention: dict[str, Any] = attention_inputs(encoded.spatial_shapes, encoded.padding_mask)
        outputs, boxes = [], []
        start = reference  # as `reference`, but with a gradient
        for layer, reg_branch in zip(self.layers, reg_branches, strict=False):
            hidden = layer(
                hidden,
                query_pos=queries.position,
                reference_points=reference[:, :, None] * level_scale,
                valid_ratios=ratios,
                value=encoded.memory,
                self_attn_mask=attn_mask,
                **attention,
            )
            offset = reg_branch(hidden).to(reference.dtype)
            outputs.append(hidden)
            boxes.append((offset + inverse_sigmoid(start)).sigmoid())
            start = (offset + inverse_sigmoid(reference)).sigmoid()
            reference = start.detach()
        return torch.stack(outputs), torch.stack(boxes)


def join_groups(groups: list[DecoderQueries]) -> tuple[DecoderQueries, Tensor]:
    """Join groups of queries, and return a mask ``[Q, Q]`` that is true between queries of different groups."""
    fields = ((group.content, group.position, group.reference_boxes) for group in groups)
    joined = DecoderQueries(*(torch.cat(parts, 1) for parts in zip(*fields, strict=True)))
    device = joined.content.device
    group_of = torch.cat([torch.full((group.content.shape[1],), i, device=device) for i, group in enumerate(groups)])
    return joined, group_of[:, None] != group_of


def box_embedding(boxes: Tensor, num_feats: int, temperature: float = 10000.0) -> Tensor:
    """Return the sine embedding ``[B, Q, 4 * num_feats]`` of normalised boxes ``[B, Q, 4]``."""
    exponent = torch.arange(num_feats, device=boxes.device, dtype=boxes.dtype).div(2, rounding_mode="floor")
    phase = boxes[..., None] * 2 * math.pi / temperature ** (2 * exponent / num_feats)
    return torch.stack([phase[..., 0::2].sin(), phase[..., 1::2].cos()], -1).flatten(2)


def at_most(limit: int, size: Any) -> Any:
    """Return the smaller of both without making ``size``, a tensor or symbol under tracing, a constant."""
    return size.clamp(max=limit) if isinstance(size, Tensor) else torch.sym_min(limit, size)
