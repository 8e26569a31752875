"""How far scores are from what detections turn out to be: measures of the field, each 0 at best.

All take scores [D] in [0, 1] and give -1 without detections.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DECE_LOWEST = 0.3
"""Lowest score that D-ECE counts by convention: with all detections, those that nobody is shown would decide it."""
DECE_BINS = 10
LAECE_BINS = 25


def dece(scores: NDArray[Any], is_true: NDArray[np.bool_]) -> float:
    """D-ECE (Küppers et al., CVPR Workshops 2020): all classes together, in 10 bins of their score.

    ``sum_b |D_b| / |D| * |mean score of D_b - precision of D_b|``, where a detection is right if it finds an object of
    its class at IoU 0.5.

    Args:
        scores: [D].
        is_true: [D].
    """
    return _binned_error(scores, is_true.astype(float), DECE_BINS)


def laece(scores: NDArray[Any], ious: NDArray[Any]) -> float:
    """LaECE_0 of a class (Kuzucu, Oksuz et al., ECCV 2024, arXiv 2405.20459), in 25 bins of its scores.

    ``sum_b |D_b| / |D| * |mean score of D_b - mean IoU of D_b|``. A score is to be the IoU that is expected, so that a
    probability of finding an object at IoU 0.5 does not reach 0.

    Args:
        scores: [D] of one class.
        ious: [D] with the object that was found, by any overlap; 0 without one, see `brs_detr.analysis.overlaps`.
    """
    return _binned_error(scores, ious, LAECE_BINS)


def laace(scores: NDArray[Any], ious: NDArray[Any]) -> float:
    """LaACE_0 of a class, from the same paper: every detection is a bin, so that it is the mean ``|score - IoU|``.

    Args:
        scores: [D] of one class.
        ious: [D] as for `laece`.
    """
    return float(np.abs(scores - ious).mean()) if len(scores) else -1.0


def mean_over_classes(errors: list[float]) -> float:
    """Mean of those that were measured; -1 without any."""
    measured = [error for error in errors if error >= 0]
    return float(np.mean(measured)) if measured else -1.0


def bin_edges(num_bins: int, upper: float = 1.0) -> NDArray[np.float64]:
    """[num_bins + 1] from 0 to ``upper``, equally far apart."""
    return np.linspace(0, upper, num_bins + 1)


def bins_of(scores: NDArray[Any], num_bins: int, upper: float = 1.0) -> NDArray[np.int64]:
    """The bin of each score: its upper edge belongs to a bin, its lower edge to the first one only."""
    places = np.searchsorted(bin_edges(num_bins, upper), scores, side="left") - 1
    return np.clip(places, 0, num_bins - 1)


def _binned_error(scores: NDArray[Any], targets: NDArray[Any], num_bins: int) -> float:
    if not len(scores):
        return -1.0
    return float(np.abs(np.bincount(bins_of(scores, num_bins), scores - targets)).sum() / len(scores))
