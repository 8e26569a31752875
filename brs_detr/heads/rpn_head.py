"""RPN trained with a ranking loss."""

from __future__ import annotations

import math

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.structures.bbox.transforms import bbox_cxcywh_to_xyxy
from torch import Tensor, nn

from brs_detr.heads.anchors import AnchorTargets, JoinedLevelsMixin
from brs_detr.heads.precision import in_full_precision
from brs_detr.heads.ranking_detection import RankingDetectionMixin

SHRUNKEN_STDS = (0.1, 0.1, 0.2, 0.2)
MAX_LOG_RATIO = math.log(1000 / 16)


class RankingRPNHead(RankingDetectionMixin, JoinedLevelsMixin, RPNHead):
    """mmdet's ``RPNHead`` that ranks the anchors of all levels and images together.

    Args:
        head_weight: of all its losses; the official multi-stage detectors take 0.2.
        shrink_box_frame: measure the IoU between a predicted and a target box after shrinking their offsets by
            (0.1, 0.1, 0.2, 0.2), as the official Co-DETR code does by accident: IoUs come out far too high.
    """

    needs_boxes = False

    def __init__(self, *args, head_weight: float = 1.0, shrink_box_frame: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.head_weight = head_weight
        self.shrink_box_frame = shrink_box_frame

    @property
    def class_layers(self) -> list[nn.Module]:
        """Layers that give a logit an anchor."""
        return [self.rpn_cls]

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[B, A, h, w]`` and deltas ``[B, A * 4, h, w]`` of one level."""
        feats = self.rpn_conv(x).relu()
        return in_full_precision(self.rpn_cls, feats), in_full_precision(self.rpn_reg, feats)

    def anchor_losses(self, targets: AnchorTargets, logits: Tensor, deltas: Tensor) -> dict[str, Tensor]:
        """Losses of the B * S anchors, named ``loss_rpn_*``: ``logits [B, S, 1]``, ``deltas [B, S, 4]``."""
        losses = super().anchor_losses(targets, logits, deltas)
        return {name.replace("loss_", "loss_rpn_"): self.head_weight * loss for name, loss in losses.items()}

    def positive_boxes(self, targets: AnchorTargets, deltas: Tensor, is_positive: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes ``[P, 4]`` of positives and of their objects, each around its anchor as if that had size 1."""
        return self.unit_boxes(deltas[is_positive]), self.unit_boxes(targets.boxes[is_positive])

    def unit_boxes(self, deltas: Tensor) -> Tensor:
        """Decode deltas ``[P, 4]`` around an anchor of size 1; IoU is the same as around the anchor itself."""
        if self.shrink_box_frame:
            deltas = deltas * deltas.new_tensor(SHRUNKEN_STDS)
            log_sides = deltas[:, 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
            return bbox_cxcywh_to_xyxy(torch.cat([deltas[:, :2], log_sides.exp()], -1))
        unit_anchors = deltas.new_tensor([-0.5, -0.5, 0.5, 0.5]).expand_as(deltas)
        return self.bbox_coder.decode(unit_anchors, deltas)
