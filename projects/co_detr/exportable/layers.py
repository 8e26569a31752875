"""Exportable forms of the model's layers: standard operations for maps of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.backbones.swin import ShiftWindowMSA
from mmdet.models.layers import SinePositionalEncoding
from mmdet.models.layers.transformer.utils import AdaptivePadding
from torch import Tensor, nn

from brs_detr.mm.ops.deformable_attention import attention_over_levels


class ExportableAttention(nn.Module):
    """`MultiScaleDeformableAttention` with a forward pass of standard operations.

    Args:
        attention: the module to replace, whose layers are reused; batch first.
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
        """Attend and add the query; return ``[B, Q, C]``.

        Args:
            query, query_pos: ``[B, Q, C]``.
            value: ``[B, T, C]`` tokens of all levels.
            reference_points: ``[B, Q, levels, 2]`` points or ``[B, Q, levels, 4]`` boxes (cx, cy, w, h), normalised.
            key_padding_mask: ``[B, T]``, true in the padding.
            level_sizes: (h, w) of each level.
            unused: other arguments of mmdet's layers.
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
        """Return locations ``[B, Q, heads, levels, points, 2]``: offsets are in cells, or relative to half a box."""
        if reference.shape[-1] == 4:
            return reference[..., :2] + offsets / self.num_points * reference[..., 2:] * 0.5
        levels = [
            torch.stack([level[..., 0] / w, level[..., 1] / h], -1)
            for level, (h, w) in zip(offsets.unbind(3), level_sizes, strict=True)
        ]
        return reference + torch.stack(levels, 3)


class ExportableWindowAttention(nn.Module):
    """mmdet's `ShiftWindowMSA` with a forward pass that has no branches on the size of a map.

    Args:
        attention: the module to replace, whose layers are reused.
    """

    def __init__(self, attention: ShiftWindowMSA) -> None:
        super().__init__()
        self.w_msa = attention.w_msa
        self.window_size, self.shift_size = attention.window_size, attention.shift_size

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend within windows; return ``[B, h * w, C]``.

        Args:
            query: ``[B, h * w, C]`` tokens of a map.
            hw_shape: (h, w) of the map.
        """
        side, shift = self.window_size, self.shift_size
        h, w = hw_shape
        rows, columns = (h + side - 1) // side, (w + side - 1) // side  # of windows
        maps = F.pad(query.unflatten(1, (h, w)), (0, 0, 0, columns * side - w, 0, rows * side - h))
        if shift:
            maps = maps.roll((-shift, -shift), (1, 2))
        windows = self._partition(maps, rows, columns)  # [B, rows * columns, side * side, C]
        mask = None
        if shift:
            mask = self._mask(rows, columns, query).expand(query.shape[0], -1, -1, -1).flatten(0, 1)
        attended = self.w_msa(windows.flatten(0, 1), mask=mask)
        maps = attended.unflatten(0, (query.shape[0], rows, columns)).unflatten(3, (side, side))
        maps = copied(maps.transpose(2, 3)).flatten(3, 4).flatten(1, 2)  # [B, rows * side, columns * side, C]
        if shift:
            maps = maps.roll((shift, shift), (1, 2))
        rows_kept, columns_kept = (torch.arange(size, device=query.device) for size in hw_shape)
        return maps.index_select(1, rows_kept).index_select(2, columns_kept).flatten(1, 2)

    def _partition(self, maps: Tensor, rows: int, columns: int) -> Tensor:
        side = self.window_size
        windows = maps.unflatten(2, (columns, side)).unflatten(1, (rows, side))
        return copied(windows.transpose(2, 3)).flatten(3, 4).flatten(1, 2)

    def _mask(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """Return the additive mask between tokens of a window that are adjacent only because of the shift."""
        regions = [self._regions(number * self.window_size, like) for number in (rows, columns)]
        region = 3 * regions[0][:, None] + regions[1]
        windows = self._partition(region[None, :, :, None], rows, columns).squeeze(-1)
        return (windows[:, :, None] != windows[..., None]) * like.new_tensor(-100.0)

    def _regions(self, length: int, like: Tensor) -> Tensor:
        places = torch.arange(length, device=like.device)
        return (places >= length - self.window_size).long() + (places >= length - self.shift_size).long()


class ExportablePadding(nn.Module):
    """mmdet's `AdaptivePadding` at the right and bottom without a branch on whether padding is needed.

    Args:
        padding: the module to replace; its kernel size must equal its stride.
    """

    def __init__(self, padding: AdaptivePadding) -> None:
        super().__init__()
        self.stride = padding.stride

    def forward(self, maps: Tensor) -> Tensor:
        """Pad ``[B, C, h, w]``."""
        (h, w), (down, right) = maps.shape[2:], self.stride
        return F.pad(maps, (0, (w + right - 1) // right * right - w, 0, (h + down - 1) // down * down - h))


def copied(tensor: Tensor) -> Tensor:
    """Copy into contiguous memory. A reshape would branch on sizes to decide whether to copy."""
    return tensor.clone(memory_format=torch.contiguous_format)


class ExportablePositions(nn.Module):
    """mmdet's normalised `SinePositionalEncoding` with the same values in the padding for every runtime library.

    Rows and columns entirely in the padding have the position ``offset / eps``, about -5e5. Libraries disagree on the
    sine of such a number, and the convolutions of the auxiliary heads spread it to the border of the image. Here the
    encoding of this position is a constant.

    Args:
        encoding: the module to replace, whose settings are used.
    """

    divisors: Tensor
    beyond: Tensor

    def __init__(self, encoding: SinePositionalEncoding) -> None:
        super().__init__()
        assert encoding.normalize
        self.offset, self.eps, self.scale = encoding.offset, encoding.eps, encoding.scale
        pairs = torch.arange(encoding.num_feats, dtype=torch.float32) // 2
        self.register_buffer("divisors", encoding.temperature ** (2 * pairs / encoding.num_feats))
        nothing = torch.zeros(1)
        self.register_buffer("beyond", self._encoded(self._places(nothing, nothing))[0])

    def forward(self, mask: Tensor) -> Tensor:
        """Return positional encodings ``[B, C, h, w]`` for masks ``[B, h, w]`` that are true in the padding."""
        is_image = (~mask).to(torch.int)
        rows, columns = (is_image.cumsum(axis, dtype=torch.float32) for axis in (1, 2))
        encoded = [self._along(rows, rows[:, -1:]), self._along(columns, columns[:, :, -1:])]
        return torch.cat(encoded, 3).permute(0, 3, 1, 2)

    def _along(self, counts: Tensor, totals: Tensor) -> Tensor:
        is_image = totals > 0
        places = self._places(counts, totals.clamp(min=1.0))
        return torch.where(is_image[..., None], self._encoded(places), self.beyond)

    def _places(self, counts: Tensor, totals: Tensor) -> Tensor:
        return (counts + self.offset) / (totals + self.eps) * self.scale

    def _encoded(self, places: Tensor) -> Tensor:
        """Return alternating sines and cosines ``[..., num_feats]``."""
        angles = places[..., None] / self.divisors
        return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], -1).flatten(-2)


_EXPORTABLE = {
    MultiScaleDeformableAttention: ExportableAttention,
    ShiftWindowMSA: ExportableWindowAttention,
    AdaptivePadding: ExportablePadding,
}


def replace_layers(model: nn.Module) -> None:
    """Replace deformable attention and the Swin layers that branch on the size of a map."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            exportable = next((new for old, new in _EXPORTABLE.items() if isinstance(child, old)), None)
            if exportable is not None:
                setattr(parent, name, exportable(child))
