"""mmdet's Deformable-DETR in any width, to compare with."""

from __future__ import annotations

from mmdet.models.detectors import DeformableDETR
from torch import Tensor


class AnyWidthDeformableDETR(DeformableDETR):
    """mmdet's ``DeformableDETR``, whose two stages fit together at a width of 256 alone."""

    def get_proposal_pos_embed(  # type: ignore[override]
        self, proposals: Tensor, num_pos_feats: int | None = None, temperature: int = 10000
    ) -> Tensor:
        """Embed proposals ``[B, Q, 4]`` into twice the width, ``[B, Q, 2 C]``."""
        width: int = num_pos_feats or self.embed_dims // 2
        embedded: Tensor = DeformableDETR.get_proposal_pos_embed(proposals, width, temperature)
        return embedded
