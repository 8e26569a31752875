"""Ranking losses on plain tensors: AP, RS and their bucketed forms, aLRP and DR. Needs PyTorch alone.

>>> loss = bucketed_rank_sort_loss(logits, targets, delta=0.5)
>>> (loss.rank + loss.sort).backward()

`published` holds RS and BRS Loss as published, as baselines. `cpu`, `cuda`, `operator` and `checks` are internal.
"""

from __future__ import annotations

from brs_detr.losses.alrp import ALRPLoss, ALRPLossOutput, alrp_loss
from brs_detr.losses.ap import APLoss, BucketedAPLoss, ap_loss, bucketed_ap_loss
from brs_detr.losses.dr import DRLoss, dr_loss
from brs_detr.losses.rank_sort import (
    BucketedRankSortLoss,
    RankSortLoss,
    RankSortLossOutput,
    bucketed_rank_sort_loss,
    rank_sort_loss,
)
from brs_detr.losses.targets import MIN_QUALITY, ranking_targets, self_balancing_weight

__all__ = [
    "MIN_QUALITY",
    "ALRPLoss",
    "ALRPLossOutput",
    "APLoss",
    "BucketedAPLoss",
    "BucketedRankSortLoss",
    "DRLoss",
    "RankSortLoss",
    "RankSortLossOutput",
    "alrp_loss",
    "ap_loss",
    "bucketed_ap_loss",
    "bucketed_rank_sort_loss",
    "dr_loss",
    "rank_sort_loss",
    "ranking_targets",
    "self_balancing_weight",
]
