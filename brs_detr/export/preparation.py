"""Preprocessing as part of a model: from decoded images to what the model takes, and boxes back again.

The arithmetic is that of `brs_detr.runtime.resize`, operation by operation, so that an image gives the same numbers
inside an artefact and beside it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brs_detr.runtime.artefact_info import Preprocessing

PARTS = 2048  # a weight of bilinear interpolation is a whole number of these


class PreparedModel(nn.Module):
    """A model of prepared images as one of decoded images.

    Args:
        model: of ``images`` and ``image_sizes``; its first result are boxes in pixels.
        settings: what is to be done before.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, settings: Preprocessing) -> None:
        super().__init__()
        self.model, self.fixed_size = model, settings.fixed_size
        self.register_buffer("mean", torch.tensor(settings.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(settings.std, dtype=torch.float32))

    def forward(self, images: Tensor, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Detect.

        Args:
            images: uint8 ``[B, H, W, 3]``, RGB.
            frame: ``[h, w]``, of which only the shape counts: the size to resize to. (As a shape it is known while the
                model is traced.)

        Returns:
            Boxes in pixels of the images that went in, scores and labels, see `brs_detr.runtime.artefact_info`; and
            what was computed on the way, the ``prepared`` images included.
        """
        (old_h, old_w), (h, w) = images.shape[1:3], frame.shape
        prepared = ((resize(images, h, w) - self.mean) / self.std).permute(0, 3, 1, 2)
        if self.fixed_size is not None:
            prepared = F.pad(prepared, (0, self.fixed_size[1] - w, 0, self.fixed_size[0] - h))
        size = torch.stack([_number(side, images) for side in (h, w)])
        old = torch.stack([_number(side, images) for side in (old_h, old_w)])
        boxes, scores, labels, stages = self.model(prepared, size.long().expand(images.shape[0], 2))
        stages["prepared"] = prepared
        return boxes / (size / old).float().flip(0).repeat(2), scores, labels, stages


def resize(images: Tensor, h: int, w: int) -> Tensor:
    """Resize uint8 ``[B, H, W, C]`` to whole numbers in float32 ``[B, h, w, C]``, as OpenCV does bilinearly."""
    left, right, left_parts, right_parts = _neighbours(images.shape[2], w, images, repeat_once=True)
    columns = images.index_select(2, left).int() * left_parts[:, None]
    columns = columns + images.index_select(2, right).int() * right_parts[:, None]
    above, below, above_parts, below_parts = _neighbours(images.shape[1], h, images, repeat_once=False)
    kept_digits = _quotient(columns, 16)
    quarters = _quotient(kept_digits.index_select(1, above) * above_parts[:, None, None], PARTS * 32)
    quarters = quarters + _quotient(kept_digits.index_select(1, below) * below_parts[:, None, None], PARTS * 32)
    return _quotient(quarters + 2, 4).float()


def _neighbours(old: int, new: int, like: Tensor, repeat_once: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two pixels of a side that each new pixel is made of, ``[new]`` each, and their weights in `PARTS`.

    Args:
        old, new: pixels of the side.
        like: on whose device to work.
        repeat_once: beyond the outer pixels give one of the two all the weight. OpenCV does so for columns, and keeps
            both weights for rows, which rounds differently.
    """
    step = 1 / (_number(new, like) / _number(old, like))
    places = ((torch.arange(new, device=like.device, dtype=torch.float64) + 0.5) * step - 0.5).float()
    cells = places.floor()
    fraction = places - cells
    first = cells.long()
    if repeat_once:
        fraction = fraction.masked_fill((first < 0) | (first >= old - 1), 0.0)
    second_parts, first_parts = ((part * PARTS).round().int() for part in (fraction, 1 - fraction))
    return first.clamp(0, old - 1), (first + 1).clamp(0, old - 1), first_parts, second_parts


def _number(side: int, like: Tensor) -> Tensor:
    """A size as a tensor: as a symbol, a quotient of it would be exported with the digits of float32."""
    return torch.full((), side, dtype=torch.float64, device=like.device)


def _quotient(values: Tensor, divisor: int) -> Tensor:
    """The whole part, for values from 0: an integer division would be exported with the digits of float32."""
    return (values.double() / divisor).floor().int()
