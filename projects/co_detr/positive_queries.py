"""From the samples of a one-to-many head to extra queries for the decoder (Co-DETR, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh
from torch import Tensor

MIN_QUERIES = 9


@dataclass(frozen=True)
class HeadSamples:
    """What a one-to-many head trained on in one image: S proposals or anchors.

    Args:
        boxes_xyxy: ``[S, 4]`` in pixels.
        labels: ``[S]``, ``num_classes`` for background.
        target_boxes_xyxy: ``[S, 4]`` box of the assigned object, in pixels; anything for background.
        feats: ``[S, C]`` what the head saw.
    """

    boxes_xyxy: Tensor
    labels: Tensor
    target_boxes_xyxy: Tensor
    feats: Tensor


@dataclass(frozen=True)
class AuxiliaryQueries:
    """Queries made of the samples of one head, Q an image.

    Args:
        boxes: ``[B, Q, 4]`` (cx, cy, w, h), normalised.
        feats: ``[B, Q, C]``.
        labels: ``[B, Q]``, ``num_classes`` for background.
        target_boxes: ``[B, Q, 4]`` (cx, cy, w, h), normalised; zero for background.
        is_positive: ``[B, Q]``.
        is_sample: ``[B, Q]``, false where an image had too few samples to fill its Q places.
    """

    boxes: Tensor
    feats: Tensor
    labels: Tensor
    target_boxes: Tensor
    is_positive: Tensor
    is_sample: Tensor


def positives_to_queries(
    samples: list[HeadSamples],
    image_sizes: list[tuple[int, int]],
    num_classes: int,
    max_queries: int = 300,
    agree: Callable[[int], int] = int,
) -> AuxiliaryQueries:
    """Take the positives of every image, at random where there are more than ``max_queries``.

    Images with fewer positives than the batch's maximum are filled up with background samples, so that all images
    have the same number of queries, at least nine.

    Args:
        samples: one entry an image.
        image_sizes: (h, w) of each image in pixels, without padding.
        num_classes: label of the background.
        max_queries: most queries an image.
        agree: makes of the batch's maximum that of a larger batch, of which this one is a part.
    """
    positives = [(s.labels < num_classes).nonzero().flatten() for s in samples]
    num_queries = max(MIN_QUERIES, min(max_queries, agree(max(len(p) for p in positives))))
    chosen = [
        _choose(pos, (s.labels == num_classes).nonzero().flatten(), num_queries)
        for pos, s in zip(positives, samples, strict=True)
    ]
    per_image = [
        _gather(s, inds, size, num_classes, num_queries)
        for s, inds, size in zip(samples, chosen, image_sizes, strict=True)
    ]
    return AuxiliaryQueries(*(torch.stack(field) for field in zip(*per_image, strict=True)))


def _choose(pos_inds: Tensor, neg_inds: Tensor, num_queries: int) -> Tensor:
    if len(pos_inds) > num_queries:
        return pos_inds[torch.randperm(len(pos_inds), device=pos_inds.device)[:num_queries]]
    fill = torch.randperm(len(neg_inds), device=neg_inds.device)[: num_queries - len(pos_inds)]
    return torch.cat([pos_inds, neg_inds[fill]])


def _gather(
    samples: HeadSamples, inds: Tensor, image_size: tuple[int, int], num_classes: int, num_queries: int
) -> tuple[Tensor, ...]:
    """The fields of `AuxiliaryQueries` of one image, places without a sample last."""
    h, w = image_size
    scale = samples.boxes_xyxy.new_tensor([w, h, w, h])
    labels = samples.labels[inds]
    boxes = bbox_xyxy_to_cxcywh(samples.boxes_xyxy[inds] / scale)
    targets = bbox_xyxy_to_cxcywh(samples.target_boxes_xyxy[inds] / scale)
    missing = num_queries - len(inds)

    def fill(tensor: Tensor, value: float) -> Tensor:
        return torch.cat([tensor, tensor.new_full((missing, *tensor.shape[1:]), value)]) if missing else tensor

    is_positive = fill(labels < num_classes, False)
    is_sample = fill(torch.ones_like(labels, dtype=torch.bool), False)
    return (
        fill(boxes, 0.5),
        fill(samples.feats[inds], 0.0),
        fill(labels, num_classes),
        fill(targets, 0.0),
        is_positive,
        is_sample,
    )
