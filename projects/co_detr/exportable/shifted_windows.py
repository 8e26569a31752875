"""Swin's attention within shifted windows, for maps of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.models.backbones.swin import ShiftWindowMSA
from mmdet.models.layers.transformer.utils import AdaptivePadding
from torch import Tensor, nn


class ExportableWindowAttention(nn.Module):
    """The layers of mmdet's `ShiftWindowMSA`, with a forward pass that does not ask how large a map is.

    Args:
        attention: whose layers are taken.
    """

    def __init__(self, attention: ShiftWindowMSA) -> None:
        super().__init__()
        self.w_msa = attention.w_msa
        self.window_size, self.shift_size = attention.window_size, attention.shift_size

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend within windows; ``[B, h * w, C]`` in and out.

        Args:
            query: tokens of a map.
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
        """What pairs of tokens in a window must not see each other, as the shift brought them together."""
        regions = [self._regions(number * self.window_size, like) for number in (rows, columns)]
        region = 3 * regions[0][:, None] + regions[1]
        windows = self._partition(region[None, :, :, None], rows, columns).squeeze(-1)
        return (windows[:, :, None] != windows[..., None]) * like.new_tensor(-100.0)

    def _regions(self, length: int, like: Tensor) -> Tensor:
        places = torch.arange(length, device=like.device)
        return (places >= length - self.window_size).long() + (places >= length - self.shift_size).long()


class ExportablePadding(nn.Module):
    """mmdet's `AdaptivePadding` at the right and below, to whole strides, without a question whether any is needed.

    Args:
        padding: whose stride is taken; the kernel is as large.
    """

    def __init__(self, padding: AdaptivePadding) -> None:
        super().__init__()
        self.stride = padding.stride

    def forward(self, maps: Tensor) -> Tensor:
        """Pad ``[B, C, h, w]``."""
        (h, w), (down, right) = maps.shape[2:], self.stride
        return F.pad(maps, (0, (w + right - 1) // right * right - w, 0, (h + down - 1) // down * down - h))


def copied(tensor: Tensor) -> Tensor:
    """A copy in the order of its axes; a reshape would ask for the sizes to know whether it needs one."""
    return tensor.clone(memory_format=torch.contiguous_format)


_EXPORTABLE = {ShiftWindowMSA: ExportableWindowAttention, AdaptivePadding: ExportablePadding}


def replace_window_attention(model: nn.Module) -> None:
    """Put parts for maps of any size in the place of a Swin Transformer's own."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) in _EXPORTABLE:
                setattr(parent, name, _EXPORTABLE[type(child)](child))
