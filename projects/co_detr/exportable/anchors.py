"""Candidates of the heads that score anchors: RPN and ATSS."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from co_detr.exportable.candidates import NOTHING, Candidates, at_most, join, within


def anchor_candidates(
    head: Any, outputs: list[tuple[Tensor, ...]], image_sizes: Tensor, settings: Any
) -> list[Candidates]:
    """The best anchors of each level.

    Args:
        head: an anchor head of mmdet that scores by sigmoids.
        outputs: of each level: logits ``[B, A * C, h, w]``, deltas ``[B, A * 4, h, w]`` and, with such a branch,
            centerness ``[B, A, h, w]`` that scores are multiplied by.
        image_sizes: ``[B, 2]`` (h, w) in pixels.
        settings: ``nms_pre`` pairs of an anchor and a class are kept of a level; those that do not score more than
            ``score_thr``, before centerness, are nothing.
    """
    sizes = [(logits.shape[2], logits.shape[3]) for logits, *_ in outputs]
    device = image_sizes.device
    anchors = head.prior_generator.grid_priors(sizes, dtype=outputs[0][0].dtype, device=device)
    return [
        _level_candidates(head, level_anchors, *maps, image_sizes=image_sizes, settings=settings)
        for level_anchors, maps in zip(anchors, outputs, strict=True)
    ]


def _level_candidates(
    head: Any,
    anchors: Tensor,
    logits: Tensor,
    deltas: Tensor,
    centerness: Tensor | None = None,
    *,
    image_sizes: Tensor,
    settings: Any,
) -> Candidates:
    num_classes = head.cls_out_channels
    scores = _by_anchor(logits, num_classes).sigmoid().flatten(1)  # [B, S * C]
    best = scores.topk(at_most(settings["nms_pre"], scores.shape[1])).indices
    places, labels = best // num_classes, best % num_classes
    scores = scores.gather(1, best)
    is_candidate = scores > settings.get("score_thr", NOTHING)
    if centerness is not None:
        scores = scores * _by_anchor(centerness, 1).sigmoid().squeeze(-1).gather(1, places)
    chosen = _by_anchor(deltas, 4).gather(1, places[..., None].expand(-1, -1, 4))
    boxes = head.bbox_coder.decode(anchors[places].flatten(0, 1), chosen.flatten(0, 1)).view_as(chosen)
    return Candidates(within(boxes, image_sizes), scores.masked_fill(~is_candidate, NOTHING), labels)


def _by_anchor(maps: Tensor, channels: int) -> Tensor:
    """From ``[B, A * channels, h, w]`` to ``[B, h * w * A, channels]``."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, channels)


def propose_regions(head: Any, maps: tuple[Tensor, ...], image_sizes: Tensor, nms_keep: Any) -> Candidates:
    """The proposals of an RPN, best first: one set an image, levels suppressed by themselves."""
    settings = head.test_cfg
    outputs = list(zip(*head(maps), strict=True))
    levels = anchor_candidates(head, outputs, image_sizes, settings)
    proposals = join(
        [level._replace(labels=torch.full_like(level.labels, number)) for number, level in enumerate(levels)]
    )
    if settings.get("min_bbox_size", -1) >= 0:
        sides = proposals.boxes[..., 2:] - proposals.boxes[..., :2]
        proposals = proposals.only((sides > settings.min_bbox_size).all(-1))
    return proposals.suppressed(nms_keep, len(levels), settings.nms.iou_threshold).best(settings.max_per_img)
