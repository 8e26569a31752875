"""Faster R-CNN's box head trained with a ranking loss."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.roi_heads import Shared2FCBBoxHead
from mmengine.structures import InstanceData
from torch import Tensor, nn

from brs_detr.heads.detection_losses import DetectionLossMixin
from brs_detr.heads.precision import in_full_precision
from brs_detr.heads.ranking_detection import RankingDetectionMixin


class RankingShared2FCBBoxHead(RankingDetectionMixin, DetectionLossMixin, Shared2FCBBoxHead):
    """mmdet's ``Shared2FCBBoxHead`` with a sigmoid a class, ranking the proposals of all images together.

    Needs ``reg_decoded_bbox=True``: IoU is measured between boxes.

    Args:
        lowest_score: what scores less is no detection. The official detectors take 0.40 or, on LVIS, 0.60; by default
            every score counts, since a ranking loss leaves open which score is high.
    """

    score_layers = ("fc_cls",)

    def __init__(self, *args: Any, lowest_score: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lowest_score = lowest_score

    @property
    def class_layers(self) -> list[nn.Module]:
        """Layers that give a logit a class."""
        return [self.fc_cls]

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

    def _predict_by_feat_single(
        self,
        roi: Tensor,
        cls_score: Tensor,
        bbox_pred: Tensor,
        img_meta: dict,
        rescale: bool = False,
        rcnn_test_cfg: Any = None,
    ) -> InstanceData:
        """Detections of one image, out of the ``nms_pre`` best pairs of a proposal and a class."""
        if rcnn_test_cfg is not None:
            cls_score = cls_score.masked_fill(self._is_dropped(cls_score, rcnn_test_cfg.get("nms_pre", 0)), -torch.inf)
        return super()._predict_by_feat_single(roi, cls_score, bbox_pred, img_meta, rescale, rcnn_test_cfg)

    def _is_dropped(self, logits: Tensor, num_kept: int) -> Tensor:
        """Mask of the pairs ``[S, num_classes]`` that are no candidates; ``num_kept`` of 0 keeps all."""
        dropped = logits.sigmoid() < self.lowest_score
        if 0 < num_kept < logits.numel():
            dropped |= logits < logits.flatten().topk(num_kept).values[-1]
        return dropped
