"""Anchors of all levels in one tensor, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AnchorTargets:
    """Targets of the S anchors of each image of a batch, levels joined, finest first.

    Args:
        anchors: ``[B, S, 4]`` (x1, y1, x2, y2) in pixels.
        labels: ``[B, S]``, ``num_classes`` for background.
        weights: ``[B, S]``; 0 leaves an anchor out.
        boxes: ``[B, S, 4]`` targets of regression, in the head's own format.
        num_positives: positives of the batch, at least one an image.
    """

    anchors: Tensor
    labels: Tensor
    weights: Tensor
    boxes: Tensor
    num_positives: int


def flatten_levels(maps: Sequence[Tensor], channels: int) -> Tensor:
    """Join maps ``[B, A * channels, h, w]`` of all levels into ``[B, S, channels]``, in float32 or better."""
    joined = torch.cat([m.permute(0, 2, 3, 1).reshape(m.shape[0], -1, channels) for m in maps], 1)
    return joined.to(torch.promote_types(joined.dtype, torch.float32))


def join_levels(
    anchors: Sequence[Tensor],
    labels: Sequence[Tensor],
    weights: Sequence[Tensor],
    boxes: Sequence[Tensor],
    num_positives: int,
) -> AnchorTargets:
    """Join the targets ``[B, S_level, ...]`` of every level."""
    return AnchorTargets(
        torch.cat(list(anchors), 1),
        torch.cat(list(labels), 1),
        torch.cat(list(weights), 1),
        torch.cat(list(boxes), 1),
        num_positives,
    )
