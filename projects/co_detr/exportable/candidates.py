"""Candidate detections of each head: pairs of box and class, their suppression and selection."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from brs_detr.mm.ops.nms_keep import NmsKeep
from co_detr.decoder import at_most
from co_detr.encoder import EncodedFeatures
from co_detr.query_head import in_pixels

NOTHING = -1.0
"""Score of an unused entry."""


class Candidates(NamedTuple):
    """N pairs per image: boxes ``[B, N, 4]`` in pixels, scores (below 0 if unused) and labels ``[B, N]``."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def at(self, places: Tensor) -> Candidates:
        """Select the candidates at indices ``places [B, K]``."""
        return Candidates(
            self.boxes.gather(1, places[..., None].expand(-1, -1, 4)),
            self.scores.gather(1, places),
            self.labels.gather(1, places),
        )

    def best(self, num_kept: int) -> tuple[Candidates, Tensor]:
        """Select the K best of each image, best first, and return their indices ``[B, K]``.

        If there are fewer than K, the last entries are unused and their indices are -1. A constant K keeps later shapes
        simple; with ``min(K, N)`` in each of them, tracing a model of many classes takes minutes.
        """
        filled = Candidates(
            F.pad(self.boxes, (0, 0, 0, num_kept)),
            F.pad(self.scores, (0, num_kept), value=NOTHING),
            F.pad(self.labels, (0, num_kept)),
        )
        scores, places = filled.scores.topk(num_kept)
        return filled.at(places), places.masked_fill(scores < 0, -1)

    def only(self, is_kept: Tensor) -> Candidates:
        """Mark the entries as unused where a mask ``[B, N]`` is false."""
        return self._replace(scores=self.scores.masked_fill(~is_kept, NOTHING))

    def suppressed(self, nms_keep: NmsKeep, num_labels: int, iou_threshold: float) -> Candidates:
        """Apply NMS within each label."""
        return self.only(nms_keep(*self, num_labels, iou_threshold))


def join(levels: list[Candidates]) -> Candidates:
    """Join candidates."""
    return Candidates(*(torch.cat(parts, 1) for parts in zip(*levels, strict=True)))


def mapped(found: Candidates, places: Tensor, score_map: nn.Module) -> tuple[Candidates, Tensor]:
    """Map the scores of detections to probabilities and sort again.

    Args:
        found: detections of each image.
        places: ``[B, K]`` their indices among the candidates.
        score_map: a `brs_detr.heads.calibrated.MappedScores`.
    """
    is_nothing = found.scores < 0
    probabilities = score_map(found.scores, found.labels).masked_fill(is_nothing, NOTHING)
    order = probabilities.topk(probabilities.shape[1]).indices
    return found._replace(scores=probabilities).at(order), places.gather(1, order)


def within(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """Clip boxes ``[B, ..., 4]`` to images of ``[B, 2]`` (h, w)."""
    limits = image_sizes.flip(1).repeat(1, 2).to(boxes.dtype)  # [B, 4] w, h, w, h
    return boxes.clamp(min=0).minimum(limits.unflatten(0, (-1, *[1] * (boxes.dim() - 2))))


class Stages:
    """Intermediate results in order of computation. Parts with the same name, such as levels, are joined."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, **parts: Tensor) -> None:
        """Append tensors ``[B, N, ...]`` by name."""
        for name, part in parts.items():
            self._parts.setdefault(name, []).append(part)

    def joined(self) -> dict[str, Tensor]:
        """Return all results, ``[B, N, ...]`` each."""
        return {name: parts[0] if len(parts) == 1 else torch.cat(parts, 1) for name, parts in self._parts.items()}


def query_candidates(head: Any, encoded: EncodedFeatures, image_sizes: Tensor, stages: Stages) -> Candidates:
    """Return all pairs of query and class.

    Args:
        head: a `CoDeformDETRHead`.
        encoded: encoder output.
        image_sizes: ``[B, 2]`` (h, w) in pixels.
        stages: receives ``encoder_logits`` and ``encoder_boxes`` of all tokens, ``queries`` (indices of the selected
            tokens), and ``decoder_logits``, ``decoder_boxes``, ``query_boxes`` and ``query_scores`` of these.
    """
    proposals = head.propose(encoded)
    places = head.best_proposals(proposals)
    logits, boxes_norm = head.decode_last(proposals, places, encoded)
    boxes, scores = in_pixels(boxes_norm, image_sizes), logits.sigmoid()
    stages.add(encoder_logits=proposals.logits[..., :1], encoder_boxes=proposals.box_logits, queries=places)
    stages.add(decoder_logits=logits, decoder_boxes=boxes_norm, query_boxes=boxes, query_scores=scores)
    num_classes = scores.shape[2]
    labels = torch.arange(num_classes, device=scores.device).expand_as(scores)
    return Candidates(boxes.repeat_interleave(num_classes, 1), scores.flatten(1), labels.flatten(1))


def anchor_candidates(
    head: Any, outputs: list[tuple[Tensor, ...]], image_sizes: Tensor, settings: Any, stages: Stages
) -> list[Candidates]:
    """Return the best pairs of anchor and class of each level.

    Args:
        head: an mmdet anchor head with sigmoid scores.
        outputs: for each level, logits ``[B, A * C, h, w]``, deltas ``[B, A * 4, h, w]`` and optional centerness
            ``[B, A, h, w]``, by which scores are multiplied.
        image_sizes: ``[B, 2]`` (h, w) in pixels.
        settings: keep ``nms_pre`` pairs per level. Pairs whose score before centerness is not above ``score_thr`` are
            unused.
        stages: receives ``anchor_logits``, ``anchor_deltas`` and ``anchor_centerness`` of all anchors, ``anchors``
            (indices of the selected pairs within their level), and ``anchor_boxes`` and ``anchor_scores`` of these.
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
    """Reshape ``[B, A * channels, h, w]`` to ``[B, h * w * A, channels]``."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, channels)


def propose_regions(
    head: Any, maps: tuple[Tensor, ...], image_sizes: Tensor, nms_keep: Any, stages: Stages
) -> Candidates:
    """Return the proposals of an RPN, best first. NMS is applied within each level.

    ``stages`` receives ``proposals``: their indices among the selected anchors.
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


def region_candidates(
    roi_head: Any, maps: tuple[Tensor, ...], proposals: Candidates, image_sizes: Tensor, stages: Stages
) -> list[Candidates]:
    """Return candidates for each class: one per proposal.

    Args:
        roi_head: an mmdet `StandardRoIHead`.
        maps: ``[B, C, h, w]``, finest first.
        proposals: R proposals per image.
        image_sizes: ``[B, 2]`` (h, w) in pixels.
        stages: receives ``region_logits``, ``region_deltas``, ``region_boxes`` and ``region_scores`` of all proposals.
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
    """Apply RoIAlign to each box on the level for its size, ``[B * R, C, h, w]``.

    Pools each box on all levels and selects one, because the number of boxes per level depends on the data.
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
