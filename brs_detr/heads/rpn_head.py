"""RPN trained with a ranking loss."""

from __future__ import annotations

import math

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.structures.bbox import bbox_overlaps
from mmdet.structures.bbox.transforms import bbox_cxcywh_to_xyxy
from mmdet.utils import InstanceList, OptInstanceList
from torch import Tensor

from brs_detr.heads.anchors import AnchorTargets, flatten_levels, join_levels
from brs_detr.heads.box_loss import positive_box_loss
from brs_detr.heads.classification import ClassificationTargets
from brs_detr.heads.precision import in_full_precision
from brs_detr.heads.ranking import RankingLossMixin, constant_losses

SHRUNKEN_STDS = (0.1, 0.1, 0.2, 0.2)
MAX_LOG_RATIO = math.log(1000 / 16)


class RankingRPNHead(RankingLossMixin, RPNHead):
    """mmdet's ``RPNHead`` that ranks the anchors of all levels and images together.

    Args:
        shrink_box_frame: measure the IoU between a predicted and a target box after shrinking their offsets by
            (0.1, 0.1, 0.2, 0.2), as the official code does by accident: IoUs come out far too high.
        constant_without_positives: make each loss its weight when no anchor of the batch is positive, as the official
            code does; by definition they are 0. Neither has a gradient.
    """

    def __init__(
        self,
        *args,
        loss_cls: dict,
        shrink_box_frame: bool = False,
        constant_without_positives: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, loss_cls={"use_sigmoid": True, **loss_cls}, **kwargs)
        self.shrink_box_frame = shrink_box_frame
        self.constant_without_positives = constant_without_positives

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[B, A, h, w]`` and deltas ``[B, A * 4, h, w]`` of one level."""
        feats = self.rpn_conv(x).relu()
        return in_full_precision(self.rpn_cls, feats), in_full_precision(self.rpn_reg, feats)

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, Tensor]:
        """Losses over the anchors of all levels, named ``loss_rpn_*``.

        Args:
            cls_scores: logits ``[B, A, h, w]`` of each level.
            bbox_preds: deltas ``[B, A * 4, h, w]`` of each level.
            batch_gt_instances: objects of each image, (x1, y1, x2, y2) in pixels.
            batch_img_metas: of each image.
            batch_gt_instances_ignore: objects to leave out.
        """
        map_sizes = [scores.shape[-2:] for scores in cls_scores]
        anchors, is_inside = self.get_anchors(map_sizes, batch_img_metas, device=cls_scores[0].device)
        labels, weights, deltas, _, num_positives = self.get_targets(
            anchors, is_inside, batch_gt_instances, batch_img_metas, batch_gt_instances_ignore
        )
        batch_anchors = [torch.cat(list(levels)) for levels in anchors]
        targets = join_levels([torch.stack(batch_anchors)], labels, weights, deltas, num_positives)
        losses = self.anchor_losses(targets, flatten_levels(cls_scores, 1), flatten_levels(bbox_preds, 4))
        return {name.replace("loss_", "loss_rpn_"): loss for name, loss in losses.items()}

    def anchor_losses(self, targets: AnchorTargets, logits: Tensor, deltas: Tensor) -> dict[str, Tensor]:
        """Losses of the B * S anchors: ``logits [B, S, 1]``, ``deltas [B, S, 4]``."""
        is_positive = targets.labels < self.num_classes  # [B, S]
        boxes = self.unit_boxes(deltas[is_positive])
        target_boxes = self.unit_boxes(targets.boxes[is_positive])
        quality = logits.new_zeros(is_positive.shape)
        quality[is_positive] = bbox_overlaps(boxes.detach(), target_boxes, is_aligned=True).to(quality.dtype)
        num_positives = self.over_processes(quality.new_tensor(float(targets.num_positives)))
        classification = self.classification_loss(
            logits.flatten(0, 1),
            ClassificationTargets(
                targets.labels.flatten(), targets.weights.flatten(), quality.flatten(), num_positives
            ),
        )
        box_losses = {"loss_bbox": positive_box_loss(self.loss_bbox, boxes, target_boxes, avg_factor=num_positives)}
        losses = classification | self.weigh_box_losses(box_losses, classification)
        if self.constant_without_positives:
            share_positive = self.over_processes(is_positive.any().to(quality.dtype))
            losses = constant_losses(losses, share_positive == 0, self.loss_cls.loss_weight)
        return losses

    def unit_boxes(self, deltas: Tensor) -> Tensor:
        """Decode deltas ``[P, 4]`` around an anchor of size 1; IoU is the same as around the anchor itself."""
        if self.shrink_box_frame:
            deltas = deltas * deltas.new_tensor(SHRUNKEN_STDS)
            log_sides = deltas[:, 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
            return bbox_cxcywh_to_xyxy(torch.cat([deltas[:, :2], log_sides.exp()], -1))
        unit_anchors = deltas.new_tensor([-0.5, -0.5, 0.5, 0.5]).expand_as(deltas)
        return self.bbox_coder.decode(unit_anchors, deltas)
