"""Co-Deformable-DETR on mmdet 3.3, plain and with ranking losses.

Importing this package registers its classes with mmdet.
"""

from __future__ import annotations

from brs_detr import heads as _heads
from brs_detr.mm import backbones as _backbones

_backbones.register()  # first: this prepares the platform for mmdet
_heads.register()

from mmdet.registry import MODELS  # noqa: E402

from co_detr.auxiliary_heads import CoATSSHead, CoRoIHead, RankingCoATSSHead  # noqa: E402
from co_detr.codetr import CoDETR  # noqa: E402
from co_detr.query_head import CoDeformDETRHead, RankingCoDeformDETRHead  # noqa: E402

__all__ = ["CoATSSHead", "CoDETR", "CoDeformDETRHead", "CoRoIHead", "RankingCoATSSHead", "RankingCoDeformDETRHead"]

for _cls in (CoATSSHead, CoDETR, CoDeformDETRHead, CoRoIHead, RankingCoATSSHead, RankingCoDeformDETRHead):
    MODELS.register_module(module=_cls, force=True)
