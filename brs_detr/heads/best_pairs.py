"""Detections of an anchor head out of the best pairs of an anchor and a class, however low these score."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.structures import InstanceData
from torch import Tensor


class BestPairsMixin:
    """Keeps the ``nms_pre`` best pairs of an anchor and a class of each level.

    The cut is relative: only the order of scores has a meaning after a ranking loss. mmdet drops what scores less than
    ``score_thr`` first, and sorts all that is left. Here ``score_thr`` drops something only where it is above 0, and
    ``nms_pre`` pairs are chosen without sorting the others.

    Put it before an anchor head of mmdet that scores every class by a sigmoid.
    """

    bbox_coder: Any
    cls_out_channels: int
    test_cfg: Any
    _bbox_post_process: Any

    def _predict_by_feat_single(
        self,
        cls_score_list: list[Tensor],
        bbox_pred_list: list[Tensor],
        score_factor_list: list[Tensor | None],
        mlvl_priors: list[Tensor],
        img_meta: dict,
        cfg: Any = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceData:
        cfg = self.test_cfg if cfg is None else cfg
        maps = zip(cls_score_list, bbox_pred_list, score_factor_list, mlvl_priors, strict=True)
        pairs = InstanceData.cat([self._best_pairs(*level, cfg) for level in maps])
        pairs.bboxes = self.bbox_coder.decode(pairs.pop("priors"), pairs.pop("deltas"), max_shape=img_meta["img_shape"])
        return self._bbox_post_process(pairs, cfg, rescale, with_nms, img_meta)

    def _best_pairs(
        self, logits: Tensor, deltas: Tensor, centerness: Tensor | None, priors: Tensor, cfg: Any
    ) -> InstanceData:
        """Best first: scores and labels ``[K]``, deltas and priors ``[K, 4]``, score_factors ``[K]`` with centerness.

        Args:
            logits: ``[A * num_classes, h, w]``.
            deltas: ``[A * 4, h, w]``.
            centerness: ``[A, h, w]`` logits.
            priors: ``[h * w * A, 4]``.
            cfg: ``nms_pre`` and ``score_thr``.
        """
        by_pair = logits.permute(1, 2, 0).flatten()
        num_kept = cfg.get("nms_pre", -1)
        num_kept = min(num_kept, len(by_pair)) if num_kept > 0 else len(by_pair)
        best, places = by_pair.topk(num_kept)
        scores = best.sigmoid()
        if cfg.get("score_thr", 0) > 0:
            is_kept = scores > cfg["score_thr"]
            scores, places = scores[is_kept], places[is_kept]
        anchors = torch.div(places, self.cls_out_channels, rounding_mode="floor")
        pairs = InstanceData(
            scores=scores,
            labels=places % self.cls_out_channels,
            deltas=deltas.permute(1, 2, 0).reshape(-1, 4)[anchors],
            priors=priors[anchors],
        )
        if centerness is not None:
            pairs.score_factors = centerness.permute(1, 2, 0).flatten()[anchors].sigmoid()
        return pairs
