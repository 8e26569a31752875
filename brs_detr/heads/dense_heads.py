"""RPN, RetinaNet and ATSS heads over all images, levels and classes together."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmdet.models.dense_heads import ATSSHead, RetinaHead, RPNHead
from mmdet.structures.bbox.transforms import bbox_cxcywh_to_xyxy
from torch import Tensor, nn

from brs_detr.heads.anchors import AnchorTargets, BestPairsHead, JoinedAnchorHead
from brs_detr.heads.numerics import in_full_precision

SHRUNKEN_STDS = (0.1, 0.1, 0.2, 0.2)
MAX_LOG_RATIO = math.log(1000 / 16)


class RankingRPNHead(JoinedAnchorHead, RPNHead):
    """mmdet's ``RPNHead`` over all levels and images together.

    Args:
        head_weight: factor of all losses of this head; the official multi-stage detectors use 0.2.
        shrink_box_frame: multiply the offsets of predicted and target boxes by (0.1, 0.1, 0.2, 0.2) before measuring
            their IoU. The official Co-DETR code does this by accident; its IoUs are far too high.
    """

    class_layer = "rpn_cls"
    needs_boxes = False

    def __init__(self, *args: Any, head_weight: float = 1.0, shrink_box_frame: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.head_weight = head_weight
        self.shrink_box_frame = shrink_box_frame

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``[B, A, h, w]`` and deltas ``[B, A * 4, h, w]`` of one level."""
        feats = self.rpn_conv(x).relu()
        return in_full_precision(self.rpn_cls, feats), in_full_precision(self.rpn_reg, feats)

    def loss_by_feat(self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *objects: Any) -> dict[str, Tensor]:
        """Compute the losses of the anchors, named ``loss_rpn_*``; see `JoinedAnchorHead`."""
        losses, _ = self.losses_and_targets((cls_scores, bbox_preds), *objects)
        return {name.replace("loss_", "loss_rpn_"): self.head_weight * loss for name, loss in losses.items()}

    def positive_boxes(self, targets: AnchorTargets, deltas: Tensor, is_positive: Tensor) -> tuple[Tensor, Tensor]:
        """Return predicted and target boxes of the positives, ``[P, 4]`` each, relative to an anchor of size 1."""
        return self.unit_boxes(deltas[is_positive]), self.unit_boxes(targets.boxes[is_positive])

    def unit_boxes(self, deltas: Tensor) -> Tensor:
        """Decode deltas ``[P, 4]`` relative to an anchor of size 1. IoU does not depend on the anchor."""
        if self.shrink_box_frame:
            deltas = deltas * deltas.new_tensor(SHRUNKEN_STDS)
            log_sides = deltas[:, 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
            return bbox_cxcywh_to_xyxy(torch.cat([deltas[:, :2], log_sides.exp()], -1))
        unit_anchors = deltas.new_tensor([-0.5, -0.5, 0.5, 0.5]).expand_as(deltas)
        return self.bbox_coder.decode(unit_anchors, deltas)


class RankingRetinaHead(BestPairsHead, RetinaHead):
    """mmdet's ``RetinaHead`` over all levels and images together."""

    class_layer = "retina_cls"
    score_layers = ("retina_cls",)

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``[B, A*C, h, w]`` and box deltas ``[B, A*4, h, w]`` of one level."""
        cls_feat = reg_feat = x
        for conv in self.cls_convs:
            cls_feat = conv(cls_feat)
        for conv in self.reg_convs:
            reg_feat = conv(reg_feat)
        return in_full_precision(self.retina_cls, cls_feat), in_full_precision(self.retina_reg, reg_feat)


class JoinedATSSHead(BestPairsHead, ATSSHead):
    """mmdet's ``ATSSHead`` over all levels and images together, with or without centerness.

    Args:
        loss_centerness: config of the centerness loss; ``None`` removes the centerness branch.
    """

    class_layer = "atss_cls"

    def __init__(self, *args: Any, loss_centerness: dict | None = None, **kwargs: Any) -> None:
        self._with_centerness = loss_centerness is not None
        stand_in = dict(type="CrossEntropyLoss", use_sigmoid=True)
        super().__init__(*args, loss_centerness=loss_centerness or stand_in, **kwargs)
        if not self._with_centerness:
            del self.atss_centerness, self.loss_centerness

    @property
    def num_anchors(self) -> int:
        """Number of anchors per location. mmdet's property of this name warns at every use."""
        return self.num_base_priors

    @property
    def score_layers(self) -> tuple[str, ...]:
        """Layers whose sigmoids are the scores; none with centerness, by which scores are multiplied."""
        return () if self._with_centerness else ("atss_cls",)

    def forward_single(self, x: Tensor, scale: nn.Module) -> tuple[Tensor, ...]:
        """Return logits ``[B, A*C, h, w]``, box deltas ``[B, A*4, h, w]`` and optional centerness of one level."""
        cls_feat = reg_feat = x
        for conv in self.cls_convs:
            cls_feat = conv(cls_feat)
        for conv in self.reg_convs:
            reg_feat = conv(reg_feat)
        outputs = in_full_precision(self.atss_cls, cls_feat), scale(self.atss_reg(reg_feat)).float()
        return (*outputs, in_full_precision(self.atss_centerness, reg_feat)) if self._with_centerness else outputs

    def anchor_targets(
        self, anchors: list[list[Tensor]], is_inside: list[list[Tensor]], objects: tuple, logits: Tensor, deltas: Tensor
    ) -> AnchorTargets:
        """Assign the anchors by ATSS, which does not depend on predictions."""
        *parts, _, num_positives = self.get_targets(anchors, is_inside, *objects)
        joined, labels, weights, boxes = (torch.cat(list(levels), 1) for levels in parts)
        return AnchorTargets(joined, labels, weights, boxes, num_positives)

    def anchor_losses(
        self, targets: AnchorTargets, logits: Tensor, deltas: Tensor, centerness: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the losses. The targets of ``centerness [B, S, 1]`` (logits) weight the box losses."""
        if centerness is None:
            return super().anchor_losses(targets, logits, deltas)
        is_positive = targets.labels < self.num_classes  # [B, S]
        boxes, target_boxes = self.positive_boxes(targets, deltas, is_positive)
        true_centerness = self.centerness_target(targets.anchors[is_positive], target_boxes)
        flat = self._flat(targets, logits, true_centerness)
        losses = self.criterion(logits.flatten(0, 1), flat, {"loss_bbox": (boxes, target_boxes)})
        each = self.loss_centerness(centerness[is_positive][:, 0], true_centerness, reduction_override="none")
        own = logits[is_positive]
        return self.criterion.loss_of_positives("loss_centerness", each, own, flat.num_positives, losses)


class RankingATSSHead(JoinedATSSHead):
    """`JoinedATSSHead`, by its name in configs with ranking losses."""
