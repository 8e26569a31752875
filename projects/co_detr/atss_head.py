"""ATSS as an auxiliary head."""

from __future__ import annotations

from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from torch import Tensor

from brs_detr.heads.anchors import flatten_levels
from brs_detr.heads.atss_head import JoinedATSSHead
from co_detr.positive_queries import HeadSamples


class CoATSSHead(JoinedATSSHead):
    """ATSS which also tells which anchors it trained on."""

    def loss(
        self, x: tuple[Tensor, ...], batch_data_samples: SampleList
    ) -> tuple[dict[str, Tensor], list[HeadSamples]]:
        """Losses over the anchors of all levels, and the anchors as samples: one entry an image."""
        channels = (self.cls_out_channels, 4, 1)[: 3 if self._with_centerness else 2]
        outputs = [flatten_levels(maps, c) for maps, c in zip(self(x), channels, strict=True)]
        objects, ignored, metas = unpack_gt_instances(batch_data_samples)
        anchors, is_inside = self.get_anchors([feat.shape[-2:] for feat in x], metas, device=x[0].device)
        targets = self.anchor_targets(anchors, is_inside, (objects, metas, ignored), *outputs[:2])
        losses = self.anchor_losses(targets, *outputs)
        feats = flatten_levels(x, x[0].shape[1])  # [B, S, C]
        samples = [
            HeadSamples(anchors, labels, boxes, feat)
            for anchors, labels, boxes, feat in zip(targets.anchors, targets.labels, targets.boxes, feats, strict=True)
        ]
        return losses, samples
