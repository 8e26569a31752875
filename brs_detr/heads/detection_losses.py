"""Losses of predictions of which some are positive: what anchors and proposals have in common."""

from __future__ import annotations

from torch import Tensor, nn

from brs_detr.heads.box_loss import positive_box_losses, positive_quality
from brs_detr.heads.classification import ClassificationLossMixin, ClassificationTargets, average_losses


class DetectionLossMixin(ClassificationLossMixin):
    """Classification and box losses over N predictions in one call, whatever image and level they come from."""

    num_classes: int
    loss_bbox: nn.Module

    def detection_losses(
        self,
        logits: Tensor,
        labels: Tensor,
        weights: Tensor,
        boxes: Tensor,
        target_boxes: Tensor,
        num_positives: Tensor,
    ) -> dict[str, Tensor]:
        """Score N predictions, P of them positive.

        Args:
            logits: ``[N, num_classes]``.
            labels: ``[N]``, ``num_classes`` for background.
            weights: ``[N]``; 0 leaves a prediction out.
            boxes: ``[P, 4]`` (x1, y1, x2, y2) that the positives predict, in the order of ``labels``.
            target_boxes: ``[P, 4]`` of their objects, in the same frame.
            num_positives: what sums over positives are divided by.
        """
        is_positive = labels < self.num_classes
        box_losses = positive_box_losses(self.loss_bbox, boxes, target_boxes)  # [P]
        targets = ClassificationTargets(
            labels,
            weights,
            positive_quality(boxes, target_boxes, is_positive),
            num_positives,
            box_losses=box_losses,
        )
        classification = self.classification_loss(logits, targets)
        box_loss = self.average_box_loss(box_losses, logits[is_positive], num_positives)
        return classification | self.weigh_box_losses({"loss_bbox": box_loss}, classification)

    def average_box_loss(self, box_losses: Tensor, logits: Tensor, num_positives: Tensor) -> Tensor:
        """Average the losses ``[P]`` of the positives, whose logits are ``[P, num_classes]``; each counts once."""
        return average_losses(box_losses[:, None], num_positives)
