"""Mask R-CNN's second stage trained with a ranking loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from torch import Tensor

from brs_detr.heads.proposals import sample_proposals

RANKING_TERMS = ("loss_rank", "loss_sort", "loss_cls")


class MaskSamples(NamedTuple):
    """The positives of an image whose masks are trained, as mmdet's mask head reads them."""

    pos_priors: Tensor  # [P, 4] (x1, y1, x2, y2) in pixels
    pos_assigned_gt_inds: Tensor  # [P]
    pos_gt_labels: Tensor  # [P]


class RankingRoIHead(StandardRoIHead):
    """mmdet's ``StandardRoIHead`` whose mask loss is balanced against the ranking loss, as the box loss is.

    A positive's mask loss is weighted as its box loss is (RS Loss, section 5).

    Args:
        max_masks: most masks of a batch to train on, drawn at random among the positives: without sampling of proposals
            there may be thousands.
    """

    def __init__(self, *args, max_masks: int = 200, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.max_masks = max_masks

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Assign and score proposals; see mmdet's ``StandardRoIHead``."""
        sampled = sample_proposals(self, rpn_results_list, batch_data_samples)
        rois = bbox2roi([result.priors for result in sampled])
        output = self._bbox_forward(x, rois)
        results = self.bbox_head.loss_and_target(
            output["cls_score"], output["bbox_pred"], rois, sampled, self.train_cfg
        )
        losses: dict[str, Tensor] = results["loss_bbox"]
        if self.with_mask:
            is_positive = results["bbox_targets"][0] < self.bbox_head.num_classes
            ranking = {name: losses[name] for name in RANKING_TERMS if name in losses}
            mask_loss = self.mask_loss_of(x, sampled, output["cls_score"][is_positive], batch_data_samples)
            losses = losses | self.bbox_head.weigh_box_losses({"loss_mask": mask_loss}, ranking)
        return losses

    def mask_loss_of(
        self, x: tuple[Tensor, ...], sampled: list[SamplingResult], logits: Tensor, batch_data_samples: SampleList
    ) -> Tensor:
        """Mean mask loss of the positives, before it is balanced; their logits are ``[P, num_classes]``."""
        chosen = torch.arange(len(logits), device=logits.device)
        if len(logits) > self.max_masks:
            chosen = torch.randperm(len(logits), device=logits.device)[: self.max_masks].sort().values
        samples = choose_masks(sampled, chosen)
        preds = self._mask_forward(x, bbox2roi([sample.pos_priors for sample in samples]))["mask_preds"]
        objects = [sample.gt_instances for sample in batch_data_samples]
        targets = self.mask_head.get_targets(samples, objects, self.train_cfg)
        labels = torch.cat([sample.pos_gt_labels for sample in samples])
        num_positives = self.bbox_head.over_processes(logits.new_tensor(float(max(len(chosen), 1))))
        losses = self.mask_head.positive_losses(preds, targets, labels)
        return self.bbox_head.average_box_loss(losses, logits[chosen], num_positives)


def choose_masks(sampled: list[SamplingResult], chosen: Tensor) -> list[MaskSamples]:
    """Keep some of the positives of a batch.

    Args:
        sampled: of each image.
        chosen: ``[M]`` ascending places among the positives of all images in turn.
    """
    samples, start = [], 0
    for result in sampled:
        stop = start + len(result.pos_priors)
        own = chosen[(chosen >= start) & (chosen < stop)] - start
        samples.append(MaskSamples(result.pos_priors[own], result.pos_assigned_gt_inds[own], result.pos_gt_labels[own]))
        start = stop
    return samples
