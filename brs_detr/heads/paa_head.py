"""PAA trained with a ranking loss."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.dense_heads import PAAHead
from mmdet.models.utils import multi_apply
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from brs_detr.errors import UserError
from brs_detr.extras import add_extra
from brs_detr.heads.anchors import AnchorTargets
from brs_detr.heads.atss_head import JoinedATSSHead
from brs_detr.heads.ranking_detection import RankingDetectionMixin

FOCAL = dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)


class RankingPAAHead(RankingDetectionMixin, JoinedATSSHead, PAAHead):
    """mmdet's ``PAAHead`` that ranks the anchors of all images, levels and classes together, without an IoU branch.

    Anchors are assigned by a mixture of two Gaussians over a score-based loss, as in PAA itself: a ranking loss has no
    value for one anchor. Needs scikit-learn.

    Args:
        loss_assign: the classification part of the loss that anchors are assigned by.
    """

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
        """Assign the anchors of each image by what the head predicts for them; see `JoinedLevelsMixin`."""
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
        """Score the candidates of an image one by one, ``[K]``; S anchors, K of them in ``pos_inds``."""
        boxes = self.bbox_coder.decode(torch.cat(anchors)[pos_inds], bbox_pred[pos_inds])
        box_losses = self.loss_bbox(boxes, bbox_target[pos_inds], reduction_override="none")
        losses = self.loss_assign(cls_score[pos_inds], label[pos_inds], reduction_override="none")
        return (losses.sum(-1) + box_losses,)

    def predict_by_feat(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *args: Any, **kwargs: Any
    ) -> InstanceList:
        """Detections of each image; see mmdet's ``PAAHead``, which wants an IoU of each anchor: all the same here."""
        constant = [scores.new_zeros(len(scores), self.num_base_priors, *scores.shape[2:]) for scores in cls_scores]
        return super().predict_by_feat(cls_scores, bbox_preds, constant, *args, **kwargs)

    def _bbox_post_process(self, results: InstanceData, *args: Any, **kwargs: Any) -> InstanceData:
        results.scores = results.scores.square() / results.score_factors[:, None]  # of which PAA takes mean and root
        return super()._bbox_post_process(results, *args, **kwargs)
