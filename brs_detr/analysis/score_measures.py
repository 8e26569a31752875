"""Quality of scores: calibration errors, reliability, and F1 at thresholds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.curves import ThresholdCurves, threshold_curves
from brs_detr.analysis.matching import Matching, Overlaps, read_overlaps
from brs_detr.runtime.calibration import Thresholds
from brs_detr.runtime.score_map import ScoreMap

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

DECE_LOWEST = 0.3
"""Lowest score in D-ECE by convention; low scores, which are never shown, would dominate it."""
MEASURES = {
    "LaECE_0": "LaECE_0, all detections",
    "LaECE_0_shown": "LaECE_0, those shown",
    "LaACE_0": "LaACE_0, all detections",
    "LaACE_0_shown": "LaACE_0, those shown",
    "D_ECE": "D-ECE, all detections",
    "D_ECE_shown": "D-ECE, those shown",
    f"D_ECE_from_{DECE_LOWEST}": f"D-ECE, score {DECE_LOWEST} and more",
    "false_alarms": "false alarms per image without objects",
    "F1": "F1 of those shown",
    "best_F1": "best F1 of any threshold",
    "best_threshold": "threshold of the best F1",
}
"""Description of each measure by key, see `ScoreMeasures`."""

DECE_BINS = 10
LAECE_BINS = 25
NUM_BINS = 10
_Z = 1.96  # standard deviations that hold 95 % of a normal distribution


@dataclass(frozen=True)
class ScoredDetections:
    """Detections with scores, and the objects that they found.

    Args:
        class_names: in the order of the category ids.
        matching: at IoU 0.5.
        overlaps: matching of the same detections at any IoU.
        empty_images: ids of the images without objects.
        score_map: map that was applied to the scores, None for raw scores.
    """

    class_names: tuple[str, ...]
    matching: Matching
    overlaps: Overlaps
    empty_images: NDArray[np.int64]
    score_map: ScoreMap | None = None

    def mapped(self, score_map: ScoreMap) -> ScoredDetections:
        """Apply a map to the scores. The matching stays valid, since a map keeps the order within a class."""
        return replace(
            self,
            matching=_mapped(self.matching, score_map),
            overlaps=replace(self.overlaps, matching=_mapped(self.overlaps.matching, score_map)),
            score_map=score_map,
        )


@dataclass(frozen=True)
class ScoreMeasures:
    """Quality of raw or calibrated scores.

    Args:
        thresholds: lowest scores shown, one for all classes or one per class in the order of the category ids.
        overall: measures of all classes by key of `MEASURES`, -1 if undefined. LaECE_0 and LaACE_0 are means over the
            classes with objects and detections. False alarms are the mean number of detections shown on an image
            without objects. F1 is that of all classes together at IoU 0.5.
        per_class: measures of each class without false alarms, plus its `threshold` and the numbers of its
            `detections` and `objects`.
        curves: precision, recall and F1 by threshold.
        reliability: reliability diagram of all classes together.
        reliability_of: reliability diagram of each class.
    """

    thresholds: Thresholds
    overall: dict[str, float]
    per_class: dict[str, dict[str, float]]
    curves: ThresholdCurves
    reliability: Reliability
    reliability_of: dict[str, Reliability]

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers. The top level has a `threshold` only if it is the same for all classes."""
        one = {} if isinstance(self.thresholds, tuple) else {"threshold": self.thresholds}
        return {**self.overall, **one, "per_class": self.per_class}


def score_detections(evaluation: COCOeval, matching: Matching, class_names: Iterable[str]) -> ScoredDetections:
    """Collect what `measure_scores` needs from an evaluation.

    Args:
        evaluation: from `brs_detr.analysis.coco_ap.evaluate_boxes`.
        matching: its matching at IoU 0.5.
        class_names: in the order of the category ids.
    """
    truth = evaluation.cocoGt
    empty = [image for image in truth.getImgIds() if not truth.getAnnIds(imgIds=[image])]
    return ScoredDetections(tuple(class_names), matching, read_overlaps(evaluation), np.array(empty, np.int64))


def measure_scores(scored: ScoredDetections, thresholds: Thresholds) -> ScoreMeasures:
    """Measure scores, with those at or above the thresholds as the ones shown."""
    matching, names = scored.matching, scored.class_names
    scores, is_true, classes = matching.scores, matching.is_true, matching.detection_classes
    lowest = np.broadcast_to(thresholds, len(names))
    is_shown = scores >= lowest[classes]
    curves = threshold_curves(matching, names)
    per_class = {name: _measure_class(scored, index, lowest[index], curves) for index, name in enumerate(names)}
    counted = [row for row in per_class.values() if row["objects"] and row["detections"]]
    overall = {
        **{key: mean_over_classes([row[key] for row in counted]) for key in MEASURES if key.startswith("La")},
        **_deces(scores, is_true, is_shown),
        "false_alarms": _false_alarms(matching.images[is_shown], scored.empty_images),
        "F1": _f1(is_true[is_shown], len(matching.objects)),
        "best_F1": curves.best_f1,
        "best_threshold": curves.recommended,
    }
    # A ranking loss may leave all raw scores far below 1; bins up to the highest score resolve them
    upper = 1.0 if scored.score_map is not None else float(scores.max(initial=0)) or 1.0
    return ScoreMeasures(
        thresholds,
        overall,
        per_class,
        curves,
        reliability(scores, is_true, upper),
        {
            name: reliability(scores[classes == index], is_true[classes == index], upper)
            for index, name in enumerate(names)
        },
    )


def _measure_class(scored: ScoredDetections, index: int, threshold: float, curves: ThresholdCurves) -> dict[str, float]:
    matching, overlaps = scored.matching, scored.overlaps
    of_class = matching.detection_classes == index
    scores, is_true = matching.scores[of_class], matching.is_true[of_class]
    num_objects = int((matching.object_classes == index).sum())
    overlapping = overlaps.matching.detection_classes == index
    every = np.stack([overlaps.matching.scores[overlapping], overlaps.ious[overlapping]])
    shown = every[:, every[0] >= threshold]
    best_threshold, best = curves.per_class.get(scored.class_names[index], (-1.0, -1.0))
    return {
        "LaECE_0": laece(*every),
        "LaECE_0_shown": laece(*shown),
        "LaACE_0": laace(*every),
        "LaACE_0_shown": laace(*shown),
        **_deces(scores, is_true, scores >= threshold),
        "F1": _f1(is_true[scores >= threshold], num_objects),
        "best_F1": best,
        "best_threshold": best_threshold,
        "threshold": float(threshold),
        "detections": len(scores),
        "objects": num_objects,
    }


def _deces(scores: NDArray[np.float64], is_true: NDArray[np.bool_], is_shown: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "D_ECE": dece(scores, is_true),
        "D_ECE_shown": dece(scores[is_shown], is_true[is_shown]),
        f"D_ECE_from_{DECE_LOWEST}": dece(scores[scores >= DECE_LOWEST], is_true[scores >= DECE_LOWEST]),
    }


def _f1(is_true: NDArray[np.bool_], num_objects: int) -> float:
    return float(2 * is_true.sum() / (len(is_true) + num_objects)) if num_objects else -1.0


def _false_alarms(images: NDArray[np.int64], empty_images: NDArray[np.int64]) -> float:
    """Return the mean number of detections on an image without objects, given the image id of each detection."""
    return float(np.isin(images, empty_images).sum() / len(empty_images)) if len(empty_images) else -1.0


def _mapped(matching: Matching, score_map: ScoreMap) -> Matching:
    return replace(matching, scores=score_map(matching.scores, matching.detection_classes))


def dece(scores: NDArray[Any], is_true: NDArray[np.bool_]) -> float:
    """D-ECE (Küppers et al., CVPR Workshops 2020) of all classes together, in 10 bins by score.

    ``sum_b |D_b| / |D| * |mean score of D_b - precision of D_b|``

    Args:
        scores: [D].
        is_true: [D], whether each found an object of its class at IoU 0.5.
    """
    return _binned_error(scores, is_true.astype(float), DECE_BINS)


def laece(scores: NDArray[Any], ious: NDArray[Any]) -> float:
    """LaECE_0 of a class (Kuzucu, Oksuz et al., ECCV 2024, arXiv 2405.20459), in 25 bins by score.

    ``sum_b |D_b| / |D| * |mean score of D_b - mean IoU of D_b|``. It is 0 if a score is the expected IoU; scores that
    are probabilities of finding an object at IoU 0.5 do not reach 0.

    Args:
        scores: [D] of one class.
        ious: [D] IoU with the object that was found, or 0; see `brs_detr.analysis.matching.Overlaps`.
    """
    return _binned_error(scores, ious, LAECE_BINS)


def laace(scores: NDArray[Any], ious: NDArray[Any]) -> float:
    """LaACE_0 of a class, from the same paper: the mean ``|score - IoU|``, as if every detection were a bin.

    Args:
        scores: [D] of one class.
        ious: [D] as for `laece`.
    """
    return float(np.abs(scores - ious).mean()) if len(scores) else -1.0


def mean_over_classes(errors: list[float]) -> float:
    """Return the mean of the errors that are not -1, or -1 without any."""
    measured = [error for error in errors if error >= 0]
    return float(np.mean(measured)) if measured else -1.0


def bin_edges(num_bins: int, upper: float = 1.0) -> NDArray[np.float64]:
    """Return equally spaced edges from 0 to ``upper``, [num_bins + 1]."""
    return np.linspace(0, upper, num_bins + 1)


def bins_of(scores: NDArray[Any], num_bins: int, upper: float = 1.0) -> NDArray[np.int64]:
    """Return the bin of each score. The upper edge belongs to a bin; only the first also has its lower edge."""
    indices = np.searchsorted(bin_edges(num_bins, upper), scores, side="left") - 1
    return np.clip(indices, 0, num_bins - 1)


def _binned_error(scores: NDArray[Any], targets: NDArray[Any], num_bins: int) -> float:
    if not len(scores):
        return -1.0
    return float(np.abs(np.bincount(bins_of(scores, num_bins), scores - targets)).sum() / len(scores))


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram in B bins of equal width (Guo et al., ICML 2017), at IoU 0.5.

    Args:
        edges: [B + 1] from 0 to 1, or to the highest score.
        mean_score, precision: [B], NaN in an empty bin.
        lowest, highest: [B] 95 % confidence interval of the precision (Wilson, 1927), NaN in an empty bin.
        counts: int [B] numbers of detections.
    """

    edges: NDArray[np.float64]
    mean_score: NDArray[np.float64]
    precision: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    counts: NDArray[np.int64]


def reliability(scores: NDArray[Any], is_true: NDArray[np.bool_], upper: float = 1.0) -> Reliability:
    """Compute the reliability diagram of scores.

    Args:
        scores: [D] in [0, 1].
        is_true: [D], whether each found an object of its class.
        upper: end of the last bin.
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
