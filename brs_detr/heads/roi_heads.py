"""The second stages of Faster, Cascade and Mask R-CNN."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from mmdet.models.roi_heads import Shared2FCBBoxHead, StandardRoIHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from brs_detr.heads.criterion import Targets, build_criterion, split_options
from brs_detr.heads.numerics import in_full_precision


class RankingShared2FCBBoxHead(Shared2FCBBoxHead):
    """mmdet's ``Shared2FCBBoxHead`` with one sigmoid per class, over the proposals of all images together.

    Requires ``reg_decoded_bbox=True``: IoU is measured between boxes.

    Args:
        lowest_score: drop detections with a lower score. The official detectors use 0.40, or 0.60 on LVIS. The default
            keeps all, since a ranking loss does not determine which score is high.
    """

    takes_criterion_options = True
    score_layers = ("fc_cls",)

    def __init__(self, *args: Any, loss_cls: dict, lowest_score: float = 0.0, **kwargs: Any) -> None:
        loss_cls, options = split_options(loss_cls, kwargs)
        super().__init__(*args, loss_cls=loss_cls, **kwargs)
        self.criterion = build_criterion(self.loss_cls, {"loss_bbox": self.loss_bbox}, **options)
        self.lowest_score = lowest_score
        if not self.reg_decoded_bbox:
            raise ValueError(f"{type(self).__name__} needs reg_decoded_bbox=True: it measures IoU between boxes")

    @property
    def class_layers(self) -> list[nn.Module]:
        """Classification layers."""
        return [self.fc_cls]

    def init_weights(self) -> None:
        """Initialise as mmdet does, then as the criterion requires."""
        super().init_weights()
        self.criterion.init_class_layers(self.class_layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``[S, num_classes]`` and deltas ``[S, 4 * num_classes]`` of features ``[S, C, h, w]``."""
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
        """Compute classification and box losses of S proposals.

        Args:
            cls_score: ``[S, num_classes]`` logits.
            bbox_pred: ``[S, 4 * num_classes]`` deltas, or ``[S, 4]`` if class-agnostic.
            rois: ``[S, 5]`` image index, x1, y1, x2, y2 in pixels.
            labels: ``[S]``, ``num_classes`` for background.
            label_weights: ``[S]`` classification weights.
            bbox_targets: ``[S, 4]`` (x1, y1, x2, y2) in pixels.
            bbox_weights: unused; all positives have equal weight.
            reduction_override: unused.
        """
        is_positive = labels < self.num_classes
        boxes = self.positive_boxes(bbox_pred, rois, labels, is_positive)
        targets = Targets(labels, label_weights, is_positive.sum().clamp(min=1).to(cls_score.dtype))
        return self.criterion(cls_score, targets, {"loss_bbox": (boxes, bbox_targets[is_positive])})

    def positive_boxes(self, deltas: Tensor, rois: Tensor, labels: Tensor, is_positive: Tensor) -> Tensor:
        """Return the boxes ``[P, 4]`` predicted by the positives for their own class."""
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
        """Detect in one image, from the ``nms_pre`` highest-scoring pairs of proposal and class."""
        if rcnn_test_cfg is not None:
            is_dropped = cls_score.sigmoid() < self.lowest_score
            num_kept = rcnn_test_cfg.get("nms_pre", 0)
            if 0 < num_kept < cls_score.numel():
                is_dropped |= cls_score < cls_score.flatten().topk(num_kept).values[-1]
            cls_score = cls_score.masked_fill(is_dropped, -torch.inf)
        return super()._predict_by_feat_single(roi, cls_score, bbox_pred, img_meta, rescale, rcnn_test_cfg)


class RankingFCNMaskHead(FCNMaskHead):
    """mmdet's ``FCNMaskHead`` with one loss per object, which `RankingRoIHead` averages.

    ``loss_mask`` must be a loss of whole masks; RS Mask R-CNN uses mmdet's ``DiceLoss``.
    """

    def positive_losses(self, mask_preds: Tensor, mask_targets: Tensor, labels: Tensor) -> Tensor:
        """Compute losses ``[P]`` of logits ``[P, num_classes, h, w]`` against masks ``[P, h, w]`` in {0, 1}."""
        columns = torch.zeros_like(labels) if self.class_agnostic else labels
        own = mask_preds[torch.arange(len(labels), device=labels.device), columns]  # [P, h, w]
        losses: Tensor = self.loss_mask(own, mask_targets, reduction_override="none")
        return losses + 0 * mask_preds.sum((1, 2, 3))


class MaskSamples(NamedTuple):
    """Positives of an image for the mask loss, in the form that mmdet's mask head expects."""

    pos_priors: Tensor  # [P, 4] (x1, y1, x2, y2) in pixels
    pos_assigned_gt_inds: Tensor  # [P]
    pos_gt_labels: Tensor  # [P]


class RankingRoIHead(StandardRoIHead):
    """mmdet's ``StandardRoIHead`` with a mask loss that the criterion of the box head averages and balances.

    Args:
        max_masks: maximum number of masks per batch. More are subsampled at random, since without sampling of proposals
            there may be thousands of positives.
    """

    def __init__(self, *args: Any, max_masks: int = 200, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_masks = max_masks

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Compute the losses of the proposals; see mmdet's ``StandardRoIHead``."""
        sampled = sample_proposals(self, rpn_results_list, batch_data_samples)
        rois = bbox2roi([result.priors for result in sampled])
        output = self._bbox_forward(x, rois)
        results = self.bbox_head.loss_and_target(
            output["cls_score"], output["bbox_pred"], rois, sampled, self.train_cfg
        )
        losses: dict[str, Tensor] = results["loss_bbox"]
        if not self.with_mask:
            return losses
        logits = output["cls_score"][results["bbox_targets"][0] < self.bbox_head.num_classes]  # of positives
        chosen = torch.arange(len(logits), device=logits.device)
        if len(logits) > self.max_masks:
            chosen = torch.randperm(len(logits), device=logits.device)[: self.max_masks].sort().values
        each = self._mask_losses(x, choose_masks(sampled, chosen), batch_data_samples)
        num_positives = logits.new_tensor(float(len(chosen)))
        criterion = self.bbox_head.criterion
        return criterion.loss_of_positives("loss_mask", each, logits[chosen], num_positives, losses)

    def _mask_losses(self, x: tuple[Tensor, ...], samples: list[MaskSamples], data_samples: SampleList) -> Tensor:
        preds = self._mask_forward(x, bbox2roi([sample.pos_priors for sample in samples]))["mask_preds"]
        objects = [sample.gt_instances for sample in data_samples]
        targets = self.mask_head.get_targets(samples, objects, self.train_cfg)
        return self.mask_head.positive_losses(preds, targets, torch.cat([sample.pos_gt_labels for sample in samples]))


def choose_masks(sampled: list[SamplingResult], chosen: Tensor) -> list[MaskSamples]:
    """Select positives of a batch by ``chosen [M]``, ascending indices into the joined positives of all images."""
    samples, start = [], 0
    for result in sampled:
        stop = start + len(result.pos_priors)
        own = chosen[(chosen >= start) & (chosen < stop)] - start
        samples.append(MaskSamples(result.pos_priors[own], result.pos_assigned_gt_inds[own], result.pos_gt_labels[own]))
        start = stop
    return samples


def sample_proposals(head: StandardRoIHead, proposals: InstanceList, samples: SampleList) -> list[SamplingResult]:
    """Assign the proposals of each image to objects and sample those to train on.

    Args:
        head: head whose assigner and sampler are used.
        proposals: proposals of each image. Their field ``bboxes`` (x1, y1, x2, y2 in pixels) is renamed to ``priors``.
        samples: images of the batch, with their objects.
    """
    objects, ignored, _ = unpack_gt_instances(samples)
    results = []
    for proposal, gt, left_out in zip(proposals, objects, ignored, strict=True):
        proposal.priors = proposal.pop("bboxes")
        assigned = head.bbox_assigner.assign(proposal, gt, left_out)
        results.append(head.bbox_sampler.sample(assigned, proposal, gt))
    return results
