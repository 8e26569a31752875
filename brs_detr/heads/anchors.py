"""Anchors of all levels in one tensor, image by image, and the losses of heads that see them so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.utils import InstanceList, OptInstanceList
from torch import Tensor

from brs_detr.heads.detection_losses import DetectionLossMixin


@dataclass(frozen=True)
class AnchorTargets:
    """Targets of the S anchors of each image of a batch, levels joined, finest first.

    Args:
        anchors: ``[B, S, 4]`` (x1, y1, x2, y2) in pixels.
        labels: ``[B, S]``, ``num_classes`` for background.
        weights: ``[B, S]``; 0 leaves an anchor out.
        boxes: ``[B, S, 4]`` targets of regression, in the head's own format.
        num_positives: positives of the batch, at least one an image.
    """

    anchors: Tensor
    labels: Tensor
    weights: Tensor
    boxes: Tensor
    num_positives: int


def flatten_levels(maps: Sequence[Tensor], channels: int) -> Tensor:
    """Join maps ``[B, A * channels, h, w]`` of all levels into ``[B, S, channels]``, in float32 or better."""
    joined = torch.cat([m.permute(0, 2, 3, 1).reshape(m.shape[0], -1, channels) for m in maps], 1)
    return joined.to(torch.promote_types(joined.dtype, torch.float32))


def join_levels(
    anchors: Sequence[Tensor],
    labels: Sequence[Tensor],
    weights: Sequence[Tensor],
    boxes: Sequence[Tensor],
    num_positives: int,
) -> AnchorTargets:
    """Join the targets ``[B, S_level, ...]`` of every level."""
    return AnchorTargets(
        torch.cat(list(anchors), 1),
        torch.cat(list(labels), 1),
        torch.cat(list(weights), 1),
        torch.cat(list(boxes), 1),
        num_positives,
    )


class JoinedLevelsMixin(DetectionLossMixin):
    """Losses of an anchor head of mmdet over the anchors of all levels and images together.

    Put it before a head whose ``forward`` gives logits and deltas. Unless it overrides `positive_boxes`, the head needs
    ``reg_decoded_bbox=True``: losses and IoU are measured between boxes.
    """

    bbox_coder: Any
    cls_out_channels: int
    get_anchors: Any
    get_targets: Any

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, Tensor]:
        """Losses over the anchors of all levels.

        Args:
            cls_scores: logits ``[B, A * num_classes, h, w]`` of each level.
            bbox_preds: deltas ``[B, A * 4, h, w]`` of each level.
            batch_gt_instances: objects of each image, (x1, y1, x2, y2) in pixels.
            batch_img_metas: of each image.
            batch_gt_instances_ignore: objects to leave out.
        """
        logits, deltas = flatten_levels(cls_scores, self.cls_out_channels), flatten_levels(bbox_preds, 4)
        anchors, is_inside = self.get_anchors(
            [scores.shape[-2:] for scores in cls_scores], batch_img_metas, device=logits.device
        )
        objects = batch_gt_instances, batch_img_metas, batch_gt_instances_ignore
        targets = self.anchor_targets(anchors, is_inside, objects, logits, deltas)
        return self.anchor_losses(targets, logits, deltas)

    def anchor_targets(
        self, anchors: list[list[Tensor]], is_inside: list[list[Tensor]], objects: tuple, logits: Tensor, deltas: Tensor
    ) -> AnchorTargets:
        """Assign the anchors of the whole batch.

        Args:
            anchors: ``[S_level, 4]`` of each level of each image.
            is_inside: ``[S_level]`` of each level of each image: whether the anchor's place belongs to the image.
            objects: what `loss_by_feat` was given of them.
            logits: ``[B, S, num_classes]``, for heads that assign by what they predict.
            deltas: ``[B, S, 4]``, likewise.
        """
        labels, weights, boxes, _, num_positives = self.get_targets(anchors, is_inside, *objects)
        joined = torch.stack([torch.cat(list(levels)) for levels in anchors])
        return join_levels([joined], labels, weights, boxes, num_positives)

    def anchor_losses(self, targets: AnchorTargets, logits: Tensor, deltas: Tensor) -> dict[str, Tensor]:
        """Losses of the B * S anchors: ``logits [B, S, num_classes]``, ``deltas [B, S, 4]``."""
        boxes, target_boxes = self.positive_boxes(targets, deltas, targets.labels < self.num_classes)
        num_positives = self.over_processes(logits.new_tensor(float(targets.num_positives)))
        return self.detection_losses(
            logits.flatten(0, 1),
            targets.labels.flatten(),
            targets.weights.flatten(),
            boxes,
            target_boxes,
            num_positives,
        )

    def positive_boxes(self, targets: AnchorTargets, deltas: Tensor, is_positive: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes ``[P, 4]`` that the positives predict, and those of their objects, in one frame."""
        return self.bbox_coder.decode(targets.anchors[is_positive], deltas[is_positive]), targets.boxes[is_positive]
