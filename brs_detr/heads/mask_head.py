"""Mask R-CNN's mask head, one loss an object."""

from __future__ import annotations

import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from torch import Tensor


class RankingFCNMaskHead(FCNMaskHead):
    """mmdet's ``FCNMaskHead`` whose loss is given object by object, for `RankingRoIHead` to weigh.

    ``loss_mask`` names a loss of whole masks; RS Mask R-CNN takes mmdet's ``DiceLoss``.
    """

    def positive_losses(self, mask_preds: Tensor, mask_targets: Tensor, labels: Tensor) -> Tensor:
        """Losses ``[P]`` of logits ``[P, num_classes, h, w]`` against masks ``[P, h, w]`` in {0, 1}."""
        columns = torch.zeros_like(labels) if self.class_agnostic else labels
        own = mask_preds[torch.arange(len(labels), device=labels.device), columns]  # [P, h, w]
        losses: Tensor = self.loss_mask(own, mask_targets, reduction_override="none")
        return losses + 0 * mask_preds.sum((1, 2, 3))
