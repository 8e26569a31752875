"""Losses and detections of mmdet's anchor heads over all levels and images together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from mmdet.models.dense_heads.anchor_head import AnchorHead
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from brs_detr.heads.criterion import Targets, build_criterion, split_options


@dataclass(frozen=True)
class AnchorTargets:
    """Targets of the S anchors of each image: all levels joined, finest first.

    Args:
        anchors: ``[B, S, 4]`` (x1, y1, x2, y2) in pixels.
        labels: ``[B, S]``, ``num_classes`` for background.
        weights: ``[B, S]`` classification weights; 0 excludes an anchor.
        boxes: ``[B, S, 4]`` regression targets in the format of the head.
        num_positives: number of positives in the batch, counting at least one per image.
    """

    anchors: Tensor
    labels: Tensor
    weights: Tensor
    boxes: Tensor
    num_positives: int


def flatten_levels(maps: Sequence[Tensor], channels: int) -> Tensor:
    """Join maps ``[B, A * channels, h, w]`` of all levels into ``[B, S, channels]``, at least in float32."""
    joined = torch.cat([m.permute(0, 2, 3, 1).reshape(m.shape[0], -1, channels) for m in maps], 1)
    return joined.to(torch.promote_types(joined.dtype, torch.float32))


class JoinedAnchorHead(AnchorHead):
    """Mixin for mmdet's anchor heads: computes losses over the anchors of all levels and images together.

    List it before an mmdet head whose ``forward`` returns logits and deltas. ``loss_cls`` selects the criterion,
    score-based or ranking. The head takes the options of the criterion as arguments.
    """

    takes_criterion_options = True
    class_layer: ClassVar[str]
    """Attribute name of the classification layer."""
    needs_boxes: ClassVar[bool] = True
    """Whether regression targets must be boxes, which IoU requires."""

    def __init__(self, *args: Any, loss_cls: dict, **kwargs: Any) -> None:
        loss_cls, options = split_options(loss_cls, kwargs)
        super().__init__(*args, loss_cls=loss_cls, **kwargs)
        self.criterion = build_criterion(self.loss_cls, {"loss_bbox": self.loss_bbox}, **options)
        if self.needs_boxes and not self.reg_decoded_bbox:
            raise ValueError(f"{type(self).__name__} needs reg_decoded_bbox=True: it measures IoU between boxes")

    @property
    def class_layers(self) -> list[nn.Module]:
        """Classification layers."""
        return [getattr(self, self.class_layer)]

    def init_weights(self) -> None:
        """Initialise as mmdet does, then as the criterion requires."""
        super().init_weights()
        self.criterion.init_class_layers(self.class_layers)

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of logits ``[B, A * num_classes, h, w]`` and deltas ``[B, A * 4, h, w]`` of each level."""
        objects = batch_gt_instances, batch_img_metas, batch_gt_instances_ignore
        return self.losses_and_targets((cls_scores, bbox_preds), *objects)[0]

    def losses_and_targets(
        self, maps: Sequence[Sequence[Tensor]], *objects: Any
    ) -> tuple[dict[str, Tensor], AnchorTargets]:
        """Assign all anchors and compute their losses.

        Args:
            maps: output of `forward`.
            objects: the objects of each image (x1, y1, x2, y2 in pixels), the metadata of the images, and the objects
                to ignore.
        """
        logits, deltas, *others = (
            flatten_levels(levels, channels)
            for levels, channels in zip(maps, (self.cls_out_channels, 4, 1), strict=False)
        )
        sizes = [level.shape[-2:] for level in maps[0]]
        anchors, is_inside = self.get_anchors(sizes, objects[1], device=logits.device)
        targets = self.anchor_targets(anchors, is_inside, objects, logits, deltas)
        return self.anchor_losses(targets, logits, deltas, *others), targets

    def anchor_targets(
        self, anchors: list[list[Tensor]], is_inside: list[list[Tensor]], objects: tuple, logits: Tensor, deltas: Tensor
    ) -> AnchorTargets:
        """Assign the anchors of the batch to objects.

        Args:
            anchors: ``[S_level, 4]`` for each level of each image.
            is_inside: ``[S_level]`` for each level of each image, false for anchors in the padding.
            objects: see `losses_and_targets`.
            logits: ``[B, S, num_classes]``, for heads whose assignment depends on predictions.
            deltas: ``[B, S, 4]``, likewise.
        """
        labels, weights, boxes, _, num_positives = self.get_targets(anchors, is_inside, *objects)
        joined = torch.stack([torch.cat(list(levels)) for levels in anchors])
        labels, weights, boxes = (torch.cat(levels, 1) for levels in (labels, weights, boxes))
        return AnchorTargets(joined, labels, weights, boxes, num_positives)

    def anchor_losses(self, targets: AnchorTargets, logits: Tensor, deltas: Tensor) -> dict[str, Tensor]:
        """Compute the losses of ``logits [B, S, num_classes]`` and ``deltas [B, S, 4]``."""
        boxes = self.positive_boxes(targets, deltas, targets.labels < self.num_classes)
        return self.criterion(logits.flatten(0, 1), self._flat(targets, logits), {"loss_bbox": boxes})

    def positive_boxes(self, targets: AnchorTargets, deltas: Tensor, is_positive: Tensor) -> tuple[Tensor, Tensor]:
        """Return predicted and target boxes of the positives, ``[P, 4]`` each, in the same coordinates."""
        return self.bbox_coder.decode(targets.anchors[is_positive], deltas[is_positive]), targets.boxes[is_positive]

    def _flat(self, targets: AnchorTargets, logits: Tensor, box_weights: Tensor | None = None) -> Targets:
        num_positives = logits.new_tensor(float(targets.num_positives))
        return Targets(targets.labels.flatten(), targets.weights.flatten(), num_positives, box_weights)


class BestPairsHead(JoinedAnchorHead):
    """Detects from the ``nms_pre`` highest-scoring pairs of anchor and class of each level.

    A ranking loss gives meaning to the order of scores alone, so the selection is relative. mmdet applies ``score_thr``
    first and sorts the rest; here ``score_thr`` applies only if it is above 0, and ``topk`` selects without sorting.
    """

    def _predict_by_feat_single(
        self,
        cls_score_list: list[Tensor],
        bbox_pred_list: list[Tensor],
        score_factor_list: list[Tensor | None],
        mlvl_priors: list[Tensor],
        img_meta: dict,
        cfg: Any = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceData:
        cfg = self.test_cfg if cfg is None else cfg
        levels = zip(cls_score_list, bbox_pred_list, score_factor_list, mlvl_priors, strict=True)
        pairs = InstanceData.cat([self._best_pairs(*level, cfg) for level in levels])
        pairs.bboxes = self.bbox_coder.decode(pairs.pop("priors"), pairs.pop("deltas"), max_shape=img_meta["img_shape"])
        return self._bbox_post_process(pairs, cfg, rescale, with_nms, img_meta)

    def _best_pairs(
        self, logits: Tensor, deltas: Tensor, centerness: Tensor | None, priors: Tensor, cfg: Any
    ) -> InstanceData:
        """Select the best pairs: scores, labels and optional score_factors ``[K]``, deltas and priors ``[K, 4]``.

        Args:
            logits: ``[A * num_classes, h, w]``.
            deltas: ``[A * 4, h, w]``.
            centerness: ``[A, h, w]`` logits.
            priors: ``[h * w * A, 4]``.
            cfg: test settings, with ``nms_pre`` and ``score_thr``.
        """
        by_pair = logits.permute(1, 2, 0).flatten()
        num_kept = cfg.get("nms_pre", -1)
        num_kept = min(num_kept, len(by_pair)) if num_kept > 0 else len(by_pair)
        best, inds = by_pair.topk(num_kept)
        scores = best.sigmoid()
        if cfg.get("score_thr", 0) > 0:
            is_kept = scores > cfg["score_thr"]
            scores, inds = scores[is_kept], inds[is_kept]
        anchors = torch.div(inds, self.cls_out_channels, rounding_mode="floor")
        pairs = InstanceData(
            scores=scores,
            labels=inds % self.cls_out_channels,
            deltas=deltas.permute(1, 2, 0).reshape(-1, 4)[anchors],
            priors=priors[anchors],
        )
        if centerness is not None:
            pairs.score_factors = centerness.permute(1, 2, 0).flatten()[anchors].sigmoid()
        return pairs
