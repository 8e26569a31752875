"""PAA head over all images, levels and classes together."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.dense_heads import PAAHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import multi_apply
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps, scale_boxes
from mmengine.structures import InstanceData
from torch import Tensor

from brs_detr.errors import UserError
from brs_detr.extras import add_extra
from brs_detr.heads.anchors import AnchorTargets
from brs_detr.heads.dense_heads import JoinedATSSHead

FOCAL = dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
VOTING_VARIANCE = 0.025
LEAST_IOU = 0.01


class RankingPAAHead(JoinedATSSHead, PAAHead):
    """mmdet's ``PAAHead`` over all images, levels and classes together, without an IoU branch.

    Anchors are assigned by a mixture of two Gaussians over a score-based loss, as in PAA: a ranking loss has no value
    per anchor. Requires scikit-learn.

    Args:
        loss_assign: config of the classification loss used for assignment.
    """

    score_layers = ()  # scores also weight the votes of boxes

    def __init__(self, *args: Any, loss_assign: dict = FOCAL, **kwargs: Any) -> None:
        try:
            import sklearn.mixture  # noqa: F401
        except ImportError:
            raise UserError("PAA assigns anchors with scikit-learn.", add_extra("paa")) from None
        super().__init__(*args, **kwargs)
        self.loss_assign = MODELS.build(loss_assign)

    def anchor_targets(
        self, anchors: list[list[Tensor]], is_inside: list[list[Tensor]], objects: tuple, logits: Tensor, deltas: Tensor
    ) -> AnchorTargets:
        """Assign the anchors of each image by the predictions of the head; see `JoinedAnchorHead`."""
        joined = torch.stack([torch.cat(list(levels)) for levels in anchors])  # get_targets joins the lists in place
        levels = [list(image) for image in anchors]
        labels, weights, boxes, box_weights, pos_inds, pos_gt_inds = self.get_targets(anchors, is_inside, *objects)
        with torch.no_grad():
            (losses,) = multi_apply(
                self.get_pos_loss,
                levels,
                list(logits.detach()),
                list(deltas.detach()),
                labels,
                weights,
                boxes,
                box_weights,
                pos_inds,
            )
            labels, weights, _, num_positives = multi_apply(
                self.paa_reassign, losses, labels, weights, box_weights, pos_inds, pos_gt_inds, levels
            )
        total = max(sum(num_positives), len(labels))
        return AnchorTargets(joined, torch.stack(labels), torch.stack(weights), torch.stack(boxes), total)

    def get_pos_loss(
        self,
        anchors: list[Tensor],
        cls_score: Tensor,
        bbox_pred: Tensor,
        label: Tensor,
        label_weight: Tensor,
        bbox_target: Tensor,
        bbox_weight: Tensor,
        pos_inds: Tensor,
    ) -> tuple[Tensor]:
        """Compute the assignment loss ``[K]`` of the candidates ``pos_inds [K]`` of an image."""
        boxes = self.bbox_coder.decode(torch.cat(anchors)[pos_inds], bbox_pred[pos_inds])
        box_losses = self.loss_bbox(boxes, bbox_target[pos_inds], reduction_override="none")
        losses = self.loss_assign(cls_score[pos_inds], label[pos_inds], reduction_override="none")
        return (losses.sum(-1) + box_losses,)

    def _bbox_post_process(
        self, results: InstanceData, cfg: Any, rescale: bool = False, with_nms: bool = True, img_meta: Any = None
    ) -> InstanceData:
        """Apply NMS, then refine each box by the votes of overlapping pairs."""
        found = BaseDenseHead._bbox_post_process(self, results, cfg, with_nms=with_nms, img_meta=img_meta)
        if self.with_score_voting and len(found):
            found.bboxes = vote(found, results)
        if rescale:
            found.bboxes = scale_boxes(found.bboxes, [1 / scale for scale in img_meta["scale_factor"]])
        return found


def vote(found: InstanceData, pairs: InstanceData) -> Tensor:
    """Average the boxes that overlap each detection and share its label, weighted by odds and IoU (PAA, section 3.4).

    PAA weights by the score. The odds ``score / (1 - score)`` agree with low scores, and their ratios do not change
    when a constant is added to all logits.

    Args:
        found: D detections, with ``bboxes`` (x1, y1, x2, y2) and ``labels``.
        pairs: pairs of anchor and class before NMS, with ``bboxes``, ``labels`` and ``scores``.

    Returns:
        Boxes ``[D, 4]``.
    """
    boxes, scores = pairs.bboxes.double(), pairs.scores.double().clamp(min=torch.finfo(torch.float32).tiny)
    ious = bbox_overlaps(found.bboxes.double(), boxes)  # [D, N]
    odds = scores / (1 - scores).clamp(min=torch.finfo(torch.float32).eps)
    weights = (-((1 - ious) ** 2) / VOTING_VARIANCE).exp() * odds
    weights = weights * ((found.labels[:, None] == pairs.labels) & (ious > LEAST_IOU))
    return (weights @ boxes / weights.sum(1, keepdim=True)).to(found.bboxes)
