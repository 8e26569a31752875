"""Deformable attention whose level sizes are numbers, not a tensor that would have to be read."""

from __future__ import annotations

import torch
from mmcv.ops import MultiScaleDeformableAttention
from torch import Tensor, nn

from brs_detr.mm.ops.deformable_attention import attention_over_levels


class ExportableAttention(nn.Module):
    """The layers of a `MultiScaleDeformableAttention` with a forward pass of standard operations.

    Args:
        attention: whose layers are taken; batch first, as all of Co-DETR is.
    """

    def __init__(self, attention: MultiScaleDeformableAttention) -> None:
        super().__init__()
        self.value_proj = attention.value_proj
        self.sampling_offsets = attention.sampling_offsets
        self.attention_weights = attention.attention_weights
        self.output_proj = attention.output_proj
        self.num_heads, self.num_points = attention.num_heads, attention.num_points

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        query_pos: Tensor,
        reference_points: Tensor,
        key_padding_mask: Tensor,
        level_sizes: tuple[tuple[int, int], ...],
        **unused: Tensor | None,
    ) -> Tensor:
        """Attend; returns ``[B, Q, C]`` with the query added.

        Args:
            query, query_pos: ``[B, Q, C]``.
            value: ``[B, T, C]`` tokens of all levels.
            reference_points: ``[B, Q, levels, 2]`` points or ``[B, Q, levels, 4]`` boxes (cx, cy, w, h), normalised.
            key_padding_mask: ``[B, T]``, true in the padding.
            level_sizes: (h, w) of each level.
            unused: what else a layer of mmdet hands on.
        """
        values = self.value_proj(value).masked_fill(key_padding_mask[..., None], 0.0)
        asking = query + query_pos
        num_levels = len(level_sizes)
        offsets = self.sampling_offsets(asking).unflatten(-1, (self.num_heads, num_levels, self.num_points, 2))
        weights = self.attention_weights(asking).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        attended = attention_over_levels(
            values.unflatten(-1, (self.num_heads, -1)),
            level_sizes,
            self._locations(reference_points[:, :, None, :, None], offsets, level_sizes),
            weights.unflatten(-1, (num_levels, self.num_points)),
        )
        return self.output_proj(attended) + query

    def _locations(self, reference: Tensor, offsets: Tensor, level_sizes: tuple[tuple[int, int], ...]) -> Tensor:
        """Where to sample, ``[B, Q, heads, levels, points, 2]``: offsets are cells, or fractions of half a box."""
        if reference.shape[-1] == 4:
            return reference[..., :2] + offsets / self.num_points * reference[..., 2:] * 0.5
        levels = [
            torch.stack([level[..., 0] / w, level[..., 1] / h], -1)
            for level, (h, w) in zip(offsets.unbind(3), level_sizes, strict=True)
        ]
        return reference + torch.stack(levels, 3)


def replace_attention(model: nn.Module) -> None:
    """Put an `ExportableAttention` in the place of every deformable attention of a model."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, MultiScaleDeformableAttention):
                setattr(parent, name, ExportableAttention(child))
