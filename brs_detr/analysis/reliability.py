"""How often detections of a score are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.calibration_errors import bin_edges, bins_of

NUM_BINS = 10
_Z = 1.96  # standard deviations that hold 95 % of a normal distribution


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram of scores in B bins of equal width (Guo et al., ICML 2017), at IoU 0.5.

    Args:
        edges: [B + 1] from 0 to 1, or to the highest score.
        mean_score, precision: [B], NaN in an empty bin.
        lowest, highest: [B] where the precision lies by 95 % (Wilson, 1927), NaN likewise.
        counts: int [B] detections.
    """

    edges: NDArray[np.float64]
    mean_score: NDArray[np.float64]
    precision: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    counts: NDArray[np.int64]


def reliability(scores: NDArray[Any], is_true: NDArray[np.bool_], upper: float = 1.0) -> Reliability:
    """Sort detections into bins by their score.

    Args:
        scores: [D] in [0, 1].
        is_true: [D], it found an object of its class.
        upper: where the last bin ends. A ranking loss may leave all scores far below 1.
    """
    bins = bins_of(scores, NUM_BINS, upper)
    counts = np.bincount(bins, minlength=NUM_BINS)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_score = np.bincount(bins, scores, NUM_BINS) / counts
        precision = np.bincount(bins, is_true, NUM_BINS) / counts
        doubt = _Z**2 / counts
        middle = (precision + doubt / 2) / (1 + doubt)
        width = np.sqrt(doubt * precision * (1 - precision) + doubt**2 / 4) / (1 + doubt)
    return Reliability(bin_edges(NUM_BINS, upper), mean_score, precision, middle - width, middle + width, counts)
