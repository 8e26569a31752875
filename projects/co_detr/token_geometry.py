"""Where the tokens of a padded batch lie, and what boxes they stand for; all in the dtype of the features."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def level_padding_masks(feats: tuple[Tensor, ...], image_sizes: Tensor, padded_size: tuple[int, int]) -> list[Tensor]:
    """Masks ``[B, h, w]`` of each level, true in the padding: where the nearest pixel of the batch is.

    Args:
        feats: maps ``[B, C, h, w]``.
        image_sizes: ``[B, 2]`` (h, w) of each image in pixels.
        padded_size: (h, w) of the batch.
    """
    masks = []
    for feat in feats:
        is_padding = [
            nearest_pixels(cells, pixels, feat.device) >= image_sizes[:, axis, None]
            for axis, (cells, pixels) in enumerate(zip(feat.shape[-2:], padded_size, strict=True))
        ]
        masks.append(is_padding[0][:, :, None] | is_padding[1][:, None])
    return masks


def nearest_pixels(num_cells: int, num_pixels: int, device: torch.device) -> Tensor:
    """Which of the pixels of a side each cell of a map is taken from, as nearest-neighbour interpolation has it."""
    return (torch.arange(num_cells, device=device, dtype=torch.float32) * (num_pixels / num_cells)).floor()


def valid_ratio(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Share (w, h) of a level that is image, ``[B, 2]``, from its padding mask ``[B, h, w]``."""
    return torch.stack([(~mask[:, 0]).to(dtype).mean(1), (~mask[:, :, 0]).to(dtype).mean(1)], -1)


def level_grid(h: int, w: int, like: Tensor) -> Tensor:
    """Centres (x, y) of the cells of a map, in cells, ``[h * w, 2]``."""
    y, x = torch.meshgrid(
        torch.arange(h, device=like.device, dtype=like.dtype),
        torch.arange(w, device=like.device, dtype=like.dtype),
        indexing="ij",
    )
    return torch.stack([x, y], -1).flatten(0, 1) + 0.5


def times_size(values: Tensor, h: int, w: int) -> Tensor:
    """Multiply (x, y) ``[..., 2]`` by (w, h). The size stays a number, which a graph of any image size needs."""
    return torch.stack([values[..., 0] * w, values[..., 1] * h], -1)


def token_centres(shapes: tuple[tuple[int, int], ...], valid_ratios: Tensor) -> Tensor:
    """Where each token looks in every level, ``[B, T, levels, 2]``, normalised by the padded level."""
    centres = [
        level_grid(h, w, valid_ratios) / times_size(valid_ratios[:, None, level], h, w)
        for level, (h, w) in enumerate(shapes)
    ]
    return torch.cat(centres, 1)[:, :, None] * valid_ratios[:, None]


def token_anchors(
    shapes: tuple[tuple[int, int], ...], valid_ratios: Tensor, padding_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """The box that each token starts from, ``[B, T, 4]`` before the sigmoid, and whether it may propose ``[B, T, 1]``.

    Sides are 0.05 of the image, doubled at each coarser level; tokens in the padding or within 0.01 of the border
    propose nothing (their box is infinite).
    """
    anchors = []
    for level, (h, w) in enumerate(shapes):
        # counts of valid cells are integers: rounding undoes the division of `valid_ratio` exactly
        valid = times_size(valid_ratios[:, None, level], h, w).round()
        centre = level_grid(h, w, valid_ratios) / valid  # [B, h*w, 2]
        anchors.append(torch.cat([centre, torch.full_like(centre, 0.05 * 2.0**level)], -1))
    boxes = torch.cat(anchors, 1)
    is_valid = ((boxes > 0.01) & (boxes < 0.99)).all(-1) & ~padding_mask
    return boxes.logit().masked_fill(~is_valid[..., None], math.inf), is_valid[..., None]


def box_embedding(boxes: Tensor, num_feats: int, temperature: float = 10000.0) -> Tensor:
    """Sine embedding of normalised boxes ``[B, Q, 4]``, ``[B, Q, 4 * num_feats]``."""
    exponent = torch.arange(num_feats, device=boxes.device, dtype=boxes.dtype).div(2, rounding_mode="floor")
    phase = boxes[..., None] * 2 * math.pi / temperature ** (2 * exponent / num_feats)
    return torch.stack([phase[..., 0::2].sin(), phase[..., 1::2].cos()], -1).flatten(2)
