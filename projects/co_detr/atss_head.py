"""ATSS as an auxiliary head."""

from __future__ import annotations

from mmdet.models.dense_heads import ATSSHead
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import reduce_mean
from torch import Tensor, nn

from brs_detr.heads.anchors import AnchorTargets, flatten_levels, join_levels
from brs_detr.heads.box_loss import positive_box_loss
from brs_detr.heads.classification import ClassificationLossMixin, ClassificationTargets
from brs_detr.heads.precision import in_full_precision
from co_detr.positive_queries import HeadSamples


class CoATSSHead(ClassificationLossMixin, ATSSHead):
    """mmdet's ``ATSSHead`` whose loss sees all levels at once, and which also tells which anchors it trained on.

    Args:
        loss_centerness: config of the centerness loss; ``None`` builds the head without a centerness branch.
    """

    def __init__(self, *args, loss_centerness: dict | None = None, **kwargs) -> None:
        self._with_centerness = loss_centerness is not None
        stand_in = dict(type="CrossEntropyLoss", use_sigmoid=True)
        super().__init__(*args, loss_centerness=loss_centerness or stand_in, **kwargs)
        if not self._with_centerness:
            del self.atss_centerness, self.loss_centerness

    @property
    def num_anchors(self) -> int:
        """Anchors a place; mmdet's own property of this name warns at every use."""
        return self.num_base_priors

    def forward_single(self, x: Tensor, scale: nn.Module) -> tuple[Tensor, ...]:
        """Logits ``[B, A*C, h, w]``, box deltas ``[B, A*4, h, w]`` and, with that branch, centerness of one level."""
        cls_feat = reg_feat = x
        for conv in self.cls_convs:
            cls_feat = conv(cls_feat)
        for conv in self.reg_convs:
            reg_feat = conv(reg_feat)
        outputs = in_full_precision(self.atss_cls, cls_feat), scale(self.atss_reg(reg_feat)).float()
        return (*outputs, in_full_precision(self.atss_centerness, reg_feat)) if self._with_centerness else outputs

    def loss(
        self, x: tuple[Tensor, ...], batch_data_samples: SampleList
    ) -> tuple[dict[str, Tensor], list[HeadSamples]]:
        """Losses over the anchors of all levels, and the anchors as samples: one entry an image."""
        channels = (self.cls_out_channels, 4, 1)[: 3 if self._with_centerness else 2]
        outputs = [flatten_levels(maps, c) for maps, c in zip(self(x), channels, strict=True)]
        targets = self.anchor_targets([(feat.shape[2], feat.shape[3]) for feat in x], batch_data_samples)
        losses = self.anchor_losses(targets, *outputs)
        feats = flatten_levels(x, x[0].shape[1])  # [B, S, C]
        samples = [
            HeadSamples(anchors, labels, boxes, feat)
            for anchors, labels, boxes, feat in zip(targets.anchors, targets.labels, targets.boxes, feats, strict=True)
        ]
        return losses, samples

    def anchor_targets(self, map_sizes: list[tuple[int, int]], samples: SampleList) -> AnchorTargets:
        """Assign the anchors of the whole batch by ATSS."""
        gt_instances, gt_ignored, metas = unpack_gt_instances(samples)
        device = gt_instances[0].bboxes.device
        anchors, is_inside = self.get_anchors(map_sizes, metas, device=device)
        targets = self.get_targets(anchors, is_inside, gt_instances, metas, gt_ignored)
        anchors, labels, weights, boxes, _, num_positives = targets
        return join_levels(anchors, labels, weights, boxes, num_positives)

    def anchor_losses(
        self, targets: AnchorTargets, logits: Tensor, deltas: Tensor, centerness: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Losses of all anchors together.

        Args:
            targets: of the B * S anchors.
            logits: ``[B, S, num_classes]``.
            deltas: ``[B, S, 4]``.
            centerness: ``[B, S, 1]`` logits.
        """
        is_positive = targets.labels < self.num_classes  # [B, S]
        anchors, target_boxes = targets.anchors[is_positive], targets.boxes[is_positive]
        boxes = self.bbox_coder.decode(anchors, deltas[is_positive])
        quality = logits.new_zeros(is_positive.shape)
        quality[is_positive] = bbox_overlaps(boxes.detach(), target_boxes, is_aligned=True).to(quality.dtype)
        num_positives = reduce_mean(logits.new_tensor(float(targets.num_positives)))
        classification = self.classification_loss(
            logits.flatten(0, 1),
            ClassificationTargets(
                targets.labels.flatten(), targets.weights.flatten(), quality.flatten(), num_positives
            ),
        )
        if centerness is None:
            box_losses = {"loss_bbox": positive_box_loss(self.loss_bbox, boxes, target_boxes, avg_factor=num_positives)}
        else:
            box_weights = self.centerness_target(anchors, target_boxes)
            total = reduce_mean(box_weights.sum()).clamp(min=1)
            box_losses = {
                "loss_bbox": self.loss_bbox(boxes, target_boxes, weight=box_weights, avg_factor=1.0) / total,
                "loss_centerness": self.loss_centerness(
                    centerness[is_positive][:, 0], box_weights, avg_factor=num_positives
                ),
            }
        return classification | self.weigh_box_losses(box_losses, classification)
