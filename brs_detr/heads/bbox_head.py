"""Faster R-CNN's box head trained with a ranking loss."""

from __future__ import annotations

from mmdet.models.roi_heads import Shared2FCBBoxHead
from torch import Tensor

from brs_detr.heads.detection_losses import DetectionLossMixin
from brs_detr.heads.precision import in_full_precision
from brs_detr.heads.ranking_detection import RankingDetectionMixin


class RankingShared2FCBBoxHead(RankingDetectionMixin, DetectionLossMixin, Shared2FCBBoxHead):
    """mmdet's ``Shared2FCBBoxHead`` with a sigmoid a class, ranking the proposals of all images together.

    Needs ``reg_decoded_bbox=True``: IoU is measured between boxes.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[S, num_classes]`` and deltas ``[S, 4 * num_classes]`` of pooled features ``[S, C, h, w]``."""
        feats = x.flatten(1)
        for layer in self.shared_fcs:
            feats = self.relu(layer(feats))
        return in_full_precision(self.fc_cls, feats), in_full_precision(self.fc_reg, feats)

    def loss(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        reduction_override: str | None = None,
    ) -> dict[str, Tensor]:
        """Ranking and box losses of S proposals.

        Args:
            cls_score: ``[S, num_classes]`` logits.
            bbox_pred: ``[S, 4 * num_classes]`` or, class agnostic, ``[S, 4]`` deltas.
            rois: ``[S, 5]`` image index, x1, y1, x2, y2 in pixels.
            labels: ``[S]``, ``num_classes`` for background.
            label_weights: ``[S]``.
            bbox_targets: ``[S, 4]`` (x1, y1, x2, y2) in pixels.
            bbox_weights: not used: every positive counts once.
            reduction_override: not used: a ranking loss has one reduction.
        """
        is_positive = labels < self.num_classes
        boxes = self.positive_boxes(bbox_pred, rois, labels, is_positive)
        num_positives = self.over_processes(is_positive.sum().clamp(min=1).to(cls_score.dtype))
        return self.detection_losses(cls_score, labels, label_weights, boxes, bbox_targets[is_positive], num_positives)

    def positive_boxes(self, deltas: Tensor, rois: Tensor, labels: Tensor, is_positive: Tensor) -> Tensor:
        """Boxes ``[P, 4]`` that the positives predict for their own class."""
        deltas = deltas[is_positive]
        if not self.reg_class_agnostic:
            deltas = deltas.unflatten(1, (self.num_classes, 4))
            deltas = deltas.take_along_dim(labels[is_positive, None, None].expand(-1, 1, 4), 1).squeeze(1)
        return self.bbox_coder.decode(rois[is_positive, 1:], deltas)
