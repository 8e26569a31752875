"""Co-DETR's heads trained with ranking losses: the one file that joins Co-DETR to the ranking losses."""

from __future__ import annotations

from brs_detr.heads.ranking import RankingLossMixin
from brs_detr.heads.ranking_detection import RankingDetectionMixin
from co_detr.atss_head import CoATSSHead
from co_detr.query_head import CoDeformDETRHead


class RankingCoDeformDETRHead(RankingLossMixin, CoDeformDETRHead):
    """`CoDeformDETRHead` that ranks the predictions of all images, queries and classes of a layer together."""

    def init_weights(self) -> None:
        """Initialise as Deformable DETR does: costs of matching see how high logits are, so that these begin low."""
        CoDeformDETRHead.init_weights(self)


class RankingCoATSSHead(RankingDetectionMixin, CoATSSHead):
    """`CoATSSHead` that ranks the anchors of all images, levels and classes together, without centerness."""
