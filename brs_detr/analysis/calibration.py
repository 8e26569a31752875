"""Whether a score is the share of detections with that score that are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.matching import Matching

NUM_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Reliability of scores in B bins of equal width (Guo et al., ICML 2017), at IoU 0.5.

    The bins end at the highest score: a ranking loss may leave all scores small.

    Args:
        edges: [B + 1] from 0 to the highest score.
        mean_score, precision: [B], NaN in an empty bin.
        counts: int [B] detections.
        error: expected calibration error: mean of ``|precision - mean_score|`` weighted by the counts, NaN without any.
    """

    edges: NDArray[np.float64]
    mean_score: NDArray[np.float64]
    precision: NDArray[np.float64]
    counts: NDArray[np.int64]
    error: float


def calibrate(matching: Matching) -> Calibration:
    """Sort detections into bins by their score; the highest score belongs to the last one."""
    highest = float(matching.scores.max(initial=0)) or 1.0
    edges = np.linspace(0, highest, NUM_BINS + 1)
    bins = np.clip((matching.scores / highest * NUM_BINS).astype(int), 0, NUM_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_BINS)
    with np.errstate(invalid="ignore"):
        mean_score = np.bincount(bins, matching.scores, NUM_BINS) / counts
        precision = np.bincount(bins, matching.is_true, NUM_BINS) / counts
    total = counts.sum()
    error = float(np.nansum(np.abs(precision - mean_score) * counts) / total) if total else float("nan")
    return Calibration(edges, mean_score, precision, counts, error)
