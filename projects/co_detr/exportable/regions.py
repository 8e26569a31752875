"""Candidates of Faster R-CNN's second stage."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import Tensor

from co_detr.exportable.candidates import NOTHING, Candidates, within
from co_detr.exportable.stages import Stages


def region_candidates(
    roi_head: Any, maps: tuple[Tensor, ...], proposals: Candidates, image_sizes: Tensor, stages: Stages
) -> list[Candidates]:
    """A box of every class for every proposal; one entry a class.

    Args:
        roi_head: a `StandardRoIHead` of mmdet.
        maps: ``[B, C, h, w]``, finest first.
        proposals: ``[B, R]``.
        image_sizes: ``[B, 2]`` (h, w) in pixels.
        stages: ``region_logits``, ``region_deltas``, ``region_boxes`` and ``region_scores`` of all proposals are added.
    """
    head = roi_head.bbox_head
    logits, deltas = head(pool_regions(roi_head.bbox_roi_extractor, maps, proposals.boxes))
    shape = proposals.scores.shape  # [B, R]
    if head.custom_cls_channels:
        scores = head.loss_cls.get_activation(logits)
    else:
        scores = logits.softmax(-1)
    scores = scores[:, : head.num_classes].view(*shape, head.num_classes)
    stages.add(region_logits=logits.unflatten(0, shape), region_deltas=deltas.unflatten(0, shape), region_scores=scores)
    is_candidate = (proposals.scores >= 0)[..., None] & (scores > roi_head.test_cfg.score_thr)
    scores = scores.masked_fill(~is_candidate, NOTHING)
    boxes = head.bbox_coder.decode(proposals.boxes.flatten(0, 1), deltas).view(*shape, -1, 4)
    boxes = within(boxes, image_sizes)
    stages.add(region_boxes=boxes)
    boxes = boxes.expand(-1, -1, head.num_classes, -1)
    return [
        Candidates(boxes[:, :, label], scores[:, :, label], torch.full_like(proposals.labels, label))
        for label in range(head.num_classes)
    ]


def pool_regions(extractor: Any, maps: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
    """RoIAlign of each box on the level that fits its size, ``[B * R, C, h, w]``.

    Every level is pooled for every box, and the right one is taken: how many boxes fit a level depends on the data.
    """
    image = torch.arange(boxes.shape[0], device=boxes.device, dtype=boxes.dtype)[:, None, None]
    regions = torch.cat([image.expand(-1, boxes.shape[1], 1), boxes], -1).flatten(0, 1)  # [B * R, 5]
    num_levels = len(extractor.roi_layers)
    levels = extractor.map_roi_levels(regions, num_levels)[:, None, None, None]
    pooled = [_pool(layer, level, regions) for layer, level in zip(extractor.roi_layers, maps, strict=False)]
    result = pooled[0]
    for number in range(1, num_levels):
        result = torch.where(levels == number, pooled[number], result)
    return result


def _pool(layer: Any, level: Tensor, regions: Tensor) -> Tensor:
    settings = layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned
    return torchvision.ops.roi_align(level, regions, *settings)
