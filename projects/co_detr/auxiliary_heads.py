"""ATSS and RoI heads as one-to-many heads whose positives become decoder queries (Co-DETR, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi, bbox_xyxy_to_cxcywh
from mmdet.utils import InstanceList
from torch import Tensor

from brs_detr.heads.anchors import flatten_levels
from brs_detr.heads.dense_heads import JoinedATSSHead
from brs_detr.heads.roi_heads import sample_proposals

MIN_QUERIES = 9


@dataclass(frozen=True)
class HeadSamples:
    """Training samples of a one-to-many head in one image: S proposals or anchors.

    Args:
        boxes_xyxy: ``[S, 4]`` in pixels.
        labels: ``[S]``, ``num_classes`` for background.
        target_boxes_xyxy: ``[S, 4]`` box of the assigned object in pixels; arbitrary for background.
        feats: ``[S, C]`` features of the head.
    """

    boxes_xyxy: Tensor
    labels: Tensor
    target_boxes_xyxy: Tensor
    feats: Tensor


class CoATSSHead(JoinedATSSHead):
    """ATSS head that also returns its training samples."""

    def loss(
        self, x: tuple[Tensor, ...], batch_data_samples: SampleList
    ) -> tuple[dict[str, Tensor], list[HeadSamples]]:
        """Compute the losses of all anchors, and return the anchors as the samples of each image."""
        objects, ignored, metas = unpack_gt_instances(batch_data_samples)
        losses, targets = self.losses_and_targets(self(x), objects, metas, ignored)
        feats = flatten_levels(x, x[0].shape[1])  # [B, S, C]
        images = zip(targets.anchors, targets.labels, targets.boxes, feats, strict=True)
        return losses, [HeadSamples(*image) for image in images]


class RankingCoATSSHead(CoATSSHead):
    """`CoATSSHead`, by its name in configs with ranking losses."""


class CoRoIHead(StandardRoIHead):
    """mmdet's ``StandardRoIHead`` that also returns its training samples."""

    def loss(
        self, x: tuple[Tensor, ...], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> tuple[dict[str, Tensor], list[HeadSamples]]:
        """Compute the losses of the proposals, and return them as the samples of each image, positives first."""
        sampled = sample_proposals(self, rpn_results_list, batch_data_samples)
        rois = bbox2roi([result.priors for result in sampled])
        output = self._bbox_forward(x, rois)
        losses = self.bbox_head.loss_and_target(
            output["cls_score"], output["bbox_pred"], rois, sampled, self.train_cfg
        )["loss_bbox"]
        feats = output["bbox_feats"].mean((2, 3)).split([len(result.priors) for result in sampled])
        return losses, [self._head_samples(result, feat) for result, feat in zip(sampled, feats, strict=True)]

    def _head_samples(self, result: SamplingResult, feats: Tensor) -> HeadSamples:
        num_negatives = len(result.neg_priors)
        background = result.pos_gt_labels.new_full((num_negatives,), self.bbox_head.num_classes)
        return HeadSamples(
            boxes_xyxy=result.priors,
            labels=torch.cat([result.pos_gt_labels, background]),
            target_boxes_xyxy=torch.cat([result.pos_gt_bboxes, result.neg_priors.new_zeros(num_negatives, 4)]),
            feats=feats,
        )


@dataclass(frozen=True)
class AuxiliaryQueries:
    """Queries built from the samples of one head, Q per image.

    Args:
        boxes: ``[B, Q, 4]`` (cx, cy, w, h), normalised.
        feats: ``[B, Q, C]``.
        labels: ``[B, Q]``, ``num_classes`` for background.
        target_boxes: ``[B, Q, 4]`` (cx, cy, w, h), normalised; zero for background.
        is_sample: ``[B, Q]``, false for the queries that pad an image with fewer than Q samples.
    """

    boxes: Tensor
    feats: Tensor
    labels: Tensor
    target_boxes: Tensor
    is_sample: Tensor


def positives_to_queries(
    samples: list[HeadSamples],
    image_sizes: list[tuple[int, int]],
    num_classes: int,
    max_queries: int = 300,
    batch_max: Callable[[int], int] = int,
) -> AuxiliaryQueries:
    """Build queries from the positives of each image, or a random subset if there are more than ``max_queries``.

    All images get the same number of queries: the largest number of positives in the batch, but at least nine. Images
    with fewer positives are filled up with background samples.

    Args:
        samples: samples of each image.
        image_sizes: (h, w) of each image in pixels, without padding.
        num_classes: label of the background.
        max_queries: maximum number of queries per image.
        batch_max: reduces the largest number of positives over the processes that share the batch.
    """
    positives = [(s.labels < num_classes).nonzero().flatten() for s in samples]
    num_queries = max(MIN_QUERIES, min(max_queries, batch_max(max(len(p) for p in positives))))
    per_image = []
    for of_image, pos_inds, size in zip(samples, positives, image_sizes, strict=True):
        inds = _choose(pos_inds, (of_image.labels == num_classes).nonzero().flatten(), num_queries)
        per_image.append(_gather(of_image, inds, size, num_classes, num_queries))
    return AuxiliaryQueries(*(torch.stack(field) for field in zip(*per_image, strict=True)))


def _choose(pos_inds: Tensor, neg_inds: Tensor, num_queries: int) -> Tensor:
    if len(pos_inds) > num_queries:
        return pos_inds[torch.randperm(len(pos_inds), device=pos_inds.device)[:num_queries]]
    fill = torch.randperm(len(neg_inds), device=neg_inds.device)[: num_queries - len(pos_inds)]
    return torch.cat([pos_inds, neg_inds[fill]])


def _gather(
    samples: HeadSamples, inds: Tensor, image_size: tuple[int, int], num_classes: int, num_queries: int
) -> tuple[Tensor, ...]:
    """Return the fields of `AuxiliaryQueries` for one image, padding last."""
    h, w = image_size
    scale = samples.boxes_xyxy.new_tensor([w, h, w, h])
    missing = num_queries - len(inds)

    def fill(tensor: Tensor, value: float) -> Tensor:
        return torch.cat([tensor, tensor.new_full((missing, *tensor.shape[1:]), value)]) if missing else tensor

    return (
        fill(bbox_xyxy_to_cxcywh(samples.boxes_xyxy[inds] / scale), 0.5),
        fill(samples.feats[inds], 0.0),
        fill(samples.labels[inds], num_classes),
        fill(bbox_xyxy_to_cxcywh(samples.target_boxes_xyxy[inds] / scale), 0.0),
        fill(torch.ones_like(inds, dtype=torch.bool), False),
    )
