"""Detection heads trained with ranking losses.

`register` puts the losses and heads of this package into mmdet's registry; ``co_detr`` calls it.
"""

from __future__ import annotations


def register() -> None:
    """Make every class of this package known to mmdet's configs; calling it again changes nothing."""
    from brs_detr.mm.platform import prepare

    prepare()
    from mmdet.registry import MODELS

    from brs_detr.heads import ranking_loss
    from brs_detr.heads.bbox_head import RankingShared2FCBBoxHead
    from brs_detr.heads.deformable_detr import AnyWidthDeformableDETR
    from brs_detr.heads.mask_head import RankingFCNMaskHead
    from brs_detr.heads.paa_head import RankingPAAHead
    from brs_detr.heads.ranking_dense_heads import RankingATSSHead, RankingRetinaHead
    from brs_detr.heads.roi_head import RankingRoIHead
    from brs_detr.heads.rpn_head import RankingRPNHead

    for cls in (
        ranking_loss.ALRPLoss,
        ranking_loss.APLoss,
        ranking_loss.BucketedAPLoss,
        ranking_loss.RankSortLoss,
        ranking_loss.BucketedRankSortLoss,
        ranking_loss.DRLoss,
        ranking_loss.LoopRankSortLoss,
        RankingATSSHead,
        RankingFCNMaskHead,
        RankingPAAHead,
        RankingRPNHead,
        RankingRetinaHead,
        RankingRoIHead,
        RankingShared2FCBBoxHead,
        AnyWidthDeformableDETR,
    ):
        MODELS.register_module(module=cls, force=True)
