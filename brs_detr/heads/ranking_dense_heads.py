"""One-stage detectors trained with ranking losses."""

from __future__ import annotations

from mmdet.models.dense_heads import RetinaHead

from brs_detr.heads.anchors import JoinedLevelsMixin
from brs_detr.heads.atss_head import JoinedATSSHead
from brs_detr.heads.ranking_detection import RankingDetectionMixin


class RankingATSSHead(RankingDetectionMixin, JoinedATSSHead):
    """ATSS that ranks the anchors of all images, levels and classes together, without centerness."""


class RankingRetinaHead(RankingDetectionMixin, JoinedLevelsMixin, RetinaHead):
    """mmdet's ``RetinaHead`` that ranks the anchors of all images, levels and classes together."""
