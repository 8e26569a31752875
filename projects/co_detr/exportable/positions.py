"""Sine positions that do not depend on how a library takes the sine of three million."""

from __future__ import annotations

import torch
from mmdet.models.layers import SinePositionalEncoding
from torch import Tensor, nn


class ExportablePositions(nn.Module):
    """mmdet's `SinePositionalEncoding`, normalised, with the same positions in the padding on every library.

    A row or column without any image in it has a place of ``offset / eps``, about -5e5 images. No two libraries agree
    on the sine of that, and the convolutions of the auxiliary heads carry it to the border of the image. It is one
    place, so its encoding is a constant.

    Args:
        encoding: whose settings are taken.
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
        """Positions ``[B, C, h, w]`` for padding masks ``[B, h, w]``, true in the padding."""
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
        """Sines and cosines ``[..., num_feats]``, by turns."""
        angles = places[..., None] / self.divisors
        return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], -1).flatten(-2)
