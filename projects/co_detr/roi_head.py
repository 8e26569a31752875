"""Faster R-CNN's second stage as an auxiliary head."""

from __future__ import annotations

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from torch import Tensor

from brs_detr.heads.proposals import sample_proposals
from co_detr.positive_queries import HeadSamples


class CoRoIHead(StandardRoIHead):
    """mmdet's ``StandardRoIHead`` that also tells which proposals it trained on."""

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> tuple[dict[str, Tensor], list[HeadSamples]]:
        """Assign and score proposals.

        Args:
            x: maps ``[B, C, h, w]``.
            rpn_results_list: proposals of each image (``bboxes`` in pixels).
            batch_data_samples: of the batch.

        Returns:
            The losses of the box head, and its samples: one entry an image, positives first.
        """
        sampled = sample_proposals(self, rpn_results_list, batch_data_samples)
        rois = bbox2roi([result.priors for result in sampled])
        output = self._bbox_forward(x, rois)
        losses = self.bbox_head.loss_and_target(
            output["cls_score"], output["bbox_pred"], rois, sampled, self.train_cfg
        )["loss_bbox"]
        feats = output["bbox_feats"].mean((2, 3)).split([len(result.priors) for result in sampled])
        return losses, [self.head_samples(result, feat) for result, feat in zip(sampled, feats, strict=True)]

    def head_samples(self, result: SamplingResult, feats: Tensor) -> HeadSamples:
        """The samples of one image; ``feats [S, C]`` are its pooled RoI features."""
        num_negatives = len(result.neg_priors)
        background = result.pos_gt_labels.new_full((num_negatives,), self.bbox_head.num_classes)
        return HeadSamples(
            boxes_xyxy=result.priors,
            labels=torch.cat([result.pos_gt_labels, background]),
            target_boxes_xyxy=torch.cat([result.pos_gt_bboxes, result.neg_priors.new_zeros(num_negatives, 4)]),
            feats=feats,
        )
