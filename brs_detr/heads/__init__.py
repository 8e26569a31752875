"""Detection heads trained with ranking losses.

Importing this package prepares mmdet. `register` adds the losses and heads of this package to mmdet's registry;
``co_detr`` calls it.
"""

from __future__ import annotations

from brs_detr.mm.platform import prepare

prepare()


def register() -> None:
    """Register all losses and heads of this package with mmdet. Repeated calls have no effect."""
    from mmdet.registry import MODELS

    from brs_detr.heads.deformable_detr import AnyWidthDeformableDETR
    from brs_detr.heads.dense_heads import RankingATSSHead, RankingRetinaHead, RankingRPNHead
    from brs_detr.heads.paa_head import RankingPAAHead
    from brs_detr.heads.ranking import LOSSES
    from brs_detr.heads.roi_heads import RankingFCNMaskHead, RankingRoIHead, RankingShared2FCBBoxHead

    for cls in (
        *LOSSES,
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
