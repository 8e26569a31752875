"""One-stage detectors trained with ranking losses."""

from __future__ import annotations

from mmdet.models.dense_heads import RetinaHead
from torch import Tensor, nn

from brs_detr.heads.anchors import JoinedLevelsMixin
from brs_detr.heads.atss_head import JoinedATSSHead
from brs_detr.heads.best_pairs import BestPairsMixin
from brs_detr.heads.precision import in_full_precision
from brs_detr.heads.ranking_detection import RankingDetectionMixin


class RankingATSSHead(RankingDetectionMixin, JoinedATSSHead):
    """ATSS that ranks the anchors of all images, levels and classes together, without centerness."""


class RankingRetinaHead(RankingDetectionMixin, BestPairsMixin, JoinedLevelsMixin, RetinaHead):
    """mmdet's ``RetinaHead`` that ranks the anchors of all images, levels and classes together."""

    score_layers = ("retina_cls",)

    @property
    def class_layers(self) -> list[nn.Module]:
        """Layers that give a logit a class."""
        return [self.retina_cls]

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[B, A*C, h, w]`` and box deltas ``[B, A*4, h, w]`` of one level."""
        cls_feat = reg_feat = x
        for conv in self.cls_convs:
            cls_feat = conv(cls_feat)
        for conv in self.reg_convs:
            reg_feat = conv(reg_feat)
        return in_full_precision(self.retina_cls, cls_feat), in_full_precision(self.retina_reg, reg_feat)
