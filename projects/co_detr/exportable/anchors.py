"""Candidates of the heads that score anchors: RPN and ATSS."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from co_detr.at_most import at_most
from co_detr.exportable.candidates import NOTHING, Candidates, join, within
from co_detr.exportable.stages import Stages


def anchor_candidates(
    head: Any, outputs: list[tuple[Tensor, ...]], image_sizes: Tensor, settings: Any, stages: Stages
) -> list[Candidates]:
    """The best anchors of each level.

    Args:
        head: an anchor head of mmdet that scores by sigmoids.
        outputs: of each level: logits ``[B, A * C, h, w]``, deltas ``[B, A * 4, h, w]`` and, with such a branch,
            centerness ``[B, A, h, w]`` that scores are multiplied by.
        image_sizes: ``[B, 2]`` (h, w) in pixels.
        settings: ``nms_pre`` pairs of an anchor and a class are kept of a level; those that do not score more than
            ``score_thr``, before centerness, are nothing.
        stages: ``anchor_logits``, ``anchor_deltas``, ``anchor_centerness`` of all anchors, ``anchors`` (the places of
            the pairs that are kept, within their level), ``anchor_boxes`` and ``anchor_scores`` of these are added.
    """
    sizes = [(logits.shape[2], logits.shape[3]) for logits, *_ in outputs]
    device = image_sizes.device
    anchors = head.prior_generator.grid_priors(sizes, dtype=outputs[0][0].dtype, device=device)
    return [
        _level_candidates(head, level_anchors, *maps, image_sizes=image_sizes, settings=settings, stages=stages)
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
    stages: Stages,
) -> Candidates:
    num_classes = head.cls_out_channels
    logits, deltas = _by_anchor(logits, num_classes), _by_anchor(deltas, 4)
    stages.add(anchor_logits=logits, anchor_deltas=deltas)
    scores = logits.sigmoid().flatten(1)  # [B, S * C]
    best = scores.topk(at_most(settings["nms_pre"], scores.shape[1])).indices
    places, labels = best // num_classes, best % num_classes
    scores = scores.gather(1, best)
    is_candidate = scores > settings.get("score_thr", NOTHING)
    if centerness is not None:
        centerness = _by_anchor(centerness, 1)
        stages.add(anchor_centerness=centerness)
        scores = scores * centerness.sigmoid().squeeze(-1).gather(1, places)
    chosen = deltas.gather(1, places[..., None].expand(-1, -1, 4))
    boxes = head.bbox_coder.decode(anchors[places].flatten(0, 1), chosen.flatten(0, 1)).view_as(chosen)
    boxes = within(boxes, image_sizes)
    stages.add(anchors=best, anchor_boxes=boxes, anchor_scores=scores)
    return Candidates(boxes, scores.masked_fill(~is_candidate, NOTHING), labels)


def _by_anchor(maps: Tensor, channels: int) -> Tensor:
    """From ``[B, A * channels, h, w]`` to ``[B, h * w * A, channels]``."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, channels)


def propose_regions(
    head: Any, maps: tuple[Tensor, ...], image_sizes: Tensor, nms_keep: Any, stages: Stages
) -> Candidates:
    """The proposals of an RPN, best first: one set an image, levels suppressed by themselves.

    Their places among the anchors that were kept are added to the stages as ``proposals``.
    """
    settings = head.test_cfg
    outputs = list(zip(*head(maps), strict=True))
    levels = anchor_candidates(head, outputs, image_sizes, settings, stages)
    proposals = join(
        [level._replace(labels=torch.full_like(level.labels, number)) for number, level in enumerate(levels)]
    )
    if settings.get("min_bbox_size", -1) >= 0:
        sides = proposals.boxes[..., 2:] - proposals.boxes[..., :2]
        proposals = proposals.only((sides > settings.min_bbox_size).all(-1))
    suppressed = proposals.suppressed(nms_keep, len(levels), settings.nms.iou_threshold)
    proposals, places = suppressed.best(settings.max_per_img)
    stages.add(proposals=places)
    return proposals
