"""mmdet's Deformable DETR with any embedding width, as a baseline."""

from __future__ import annotations

from mmdet.models.detectors import DeformableDETR
from torch import Tensor


class AnyWidthDeformableDETR(DeformableDETR):
    """mmdet's ``DeformableDETR``, whose two-stage variant supports a width of 256 only, for any width."""

    def get_proposal_pos_embed(  # type: ignore[override]
        self, proposals: Tensor, num_pos_feats: int | None = None, temperature: int = 10000
    ) -> Tensor:
        """Return the sine embedding ``[B, Q, 2 C]`` of proposals ``[B, Q, 4]``."""
        width: int = num_pos_feats or self.embed_dims // 2
        embedded: Tensor = DeformableDETR.get_proposal_pos_embed(proposals, width, temperature)
        return embedded
