"""ATSS whose loss sees all levels at once."""

from __future__ import annotations

from mmdet.models.dense_heads import ATSSHead
from mmdet.utils import reduce_mean
from torch import Tensor, nn

from brs_detr.heads.anchors import AnchorTargets, JoinedLevelsMixin, join_levels
from brs_detr.heads.best_pairs import BestPairsMixin
from brs_detr.heads.box_loss import positive_quality
from brs_detr.heads.classification import ClassificationTargets
from brs_detr.heads.precision import in_full_precision


class JoinedATSSHead(BestPairsMixin, JoinedLevelsMixin, ATSSHead):
    """mmdet's ``ATSSHead`` over all levels and images together, with or without centerness.

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

    @property
    def class_layers(self) -> list[nn.Module]:
        """Layers that give a logit a class."""
        return [self.atss_cls]

    @property
    def score_layers(self) -> tuple[str, ...]:
        """Layers whose logits become scores by a sigmoid alone: none with centerness, which multiplies them."""
        return () if self._with_centerness else ("atss_cls",)

    def forward_single(self, x: Tensor, scale: nn.Module) -> tuple[Tensor, ...]:
        """Logits ``[B, A*C, h, w]``, box deltas ``[B, A*4, h, w]`` and, with that branch, centerness of one level."""
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
        """Assign the anchors of the whole batch by ATSS, which does not look at what they predict."""
        joined, labels, weights, boxes, _, num_positives = self.get_targets(anchors, is_inside, *objects)
        return join_levels(joined, labels, weights, boxes, num_positives)

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
        if centerness is None:
            return super().anchor_losses(targets, logits, deltas)
        is_positive = targets.labels < self.num_classes  # [B, S]
        boxes, target_boxes = self.positive_boxes(targets, deltas, is_positive)
        num_positives = self.over_processes(logits.new_tensor(float(targets.num_positives)))
        quality = positive_quality(boxes, target_boxes, is_positive.flatten())
        classification = self.classification_loss(
            logits.flatten(0, 1),
            ClassificationTargets(targets.labels.flatten(), targets.weights.flatten(), quality, num_positives),
        )
        box_weights = self.centerness_target(targets.anchors[is_positive], target_boxes)
        total = reduce_mean(box_weights.sum()).clamp(min=1)
        box_losses = {
            "loss_bbox": self.loss_bbox(boxes, target_boxes, weight=box_weights, avg_factor=1.0) / total,
            "loss_centerness": self.loss_centerness(
                centerness[is_positive][:, 0], box_weights, avg_factor=num_positives
            ),
        }
        return classification | self.weigh_box_losses(box_losses, classification)
