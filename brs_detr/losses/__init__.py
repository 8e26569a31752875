"""Ranking losses on plain tensors: AP, RS and their bucketed forms, aLRP and DR. Needs PyTorch alone.

>>> loss = bucketed_rank_sort_loss(logits, targets, delta=0.5)
>>> (loss.rank + loss.sort).backward()
"""

from __future__ import annotations

from brs_detr.losses.average_precision import APLoss, BucketedAPLoss, ap_loss, bucketed_ap_loss
from brs_detr.losses.distributional_ranking import DRLoss, dr_loss
from brs_detr.losses.localisation_recall_precision import ALRPLoss, ALRPLossOutput, alrp_loss
from brs_detr.losses.rank_sort import (
    BucketedRankSortLoss,
    RankSortLoss,
    RankSortLossOutput,
    bucketed_rank_sort_loss,
    rank_sort_loss,
)
from brs_detr.losses.self_balancing import self_balancing_weight
from brs_detr.losses.targets import MIN_QUALITY, ranking_targets

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
