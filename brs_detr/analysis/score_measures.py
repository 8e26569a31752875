"""What scores are worth: how far they are from what they promise, and what a threshold on them keeps."""

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
"""Lowest score that D-ECE counts by convention: with all detections, those that nobody is shown would decide it."""
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
"""What is measured, by key: see `ScoreMeasures`."""

DECE_BINS = 10
LAECE_BINS = 25
NUM_BINS = 10
_Z = 1.96  # standard deviations that hold 95 % of a normal distribution


@dataclass(frozen=True)
class ScoredDetections:
    """The detections that count, their scores, and what they find.

    Args:
        class_names: in the order of the category ids.
        matching: at IoU 0.5.
        overlaps: of the same detections.
        empty_images: ids of the images without any object.
        score_map: that the scores went through, None of raw ones.
    """

    class_names: tuple[str, ...]
    matching: Matching
    overlaps: Overlaps
    empty_images: NDArray[np.int64]
    score_map: ScoreMap | None = None

    def mapped(self, score_map: ScoreMap) -> ScoredDetections:
        """The same with probabilities for scores. Who finds what stays: within a class the map keeps the order."""
        return replace(
            self,
            matching=_mapped(self.matching, score_map),
            overlaps=replace(self.overlaps, matching=_mapped(self.overlaps.matching, score_map)),
            score_map=score_map,
        )


@dataclass(frozen=True)
class ScoreMeasures:
    """Scores of one kind, raw or calibrated, and the thresholds that they are shown from.

    Args:
        thresholds: in the order of the category ids, where each class has its own.
        overall: of all classes, by key of `MEASURES`; -1 where there is nothing to measure it on. LaECE_0 and LaACE_0
            are means over the classes that have objects and detections. False alarms are the detections that are shown,
            on the mean of the images without any object. F1 is that of all classes together at IoU 0.5.
        per_class: the same of each class but for false alarms, with its `threshold`, and the number of its `detections`
            and `objects`.
        curves: by threshold.
        reliability: of all classes together.
        reliability_of: each class.
    """

    thresholds: Thresholds
    overall: dict[str, float]
    per_class: dict[str, dict[str, float]]
    curves: ThresholdCurves
    reliability: Reliability
    reliability_of: dict[str, Reliability]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; `threshold` is overall only where it is one for all classes."""
        one = {} if isinstance(self.thresholds, tuple) else {"threshold": self.thresholds}
        return {**self.overall, **one, "per_class": self.per_class}


def score_detections(evaluation: COCOeval, matching: Matching, class_names: Iterable[str]) -> ScoredDetections:
    """What `measure_scores` needs of an evaluation.

    Args:
        evaluation: from `brs_detr.analysis.coco_ap.evaluate_boxes`.
        matching: read from it.
        class_names: in the order of the category ids.
    """
    truth = evaluation.cocoGt
    empty = [image for image in truth.getImgIds() if not truth.getAnnIds(imgIds=[image])]
    return ScoredDetections(tuple(class_names), matching, read_overlaps(evaluation), np.array(empty, np.int64))


def measure_scores(scored: ScoredDetections, thresholds: Thresholds) -> ScoreMeasures:
    """All measures of scores that are shown from these thresholds."""
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
    # A ranking loss may leave raw scores far below 1: bins that end at the highest of them tell them apart
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
    found = np.stack([overlaps.matching.scores[overlapping], overlaps.ious[overlapping]])
    shown = found[:, found[0] >= threshold]
    best_threshold, best = curves.per_class.get(scored.class_names[index], (-1.0, -1.0))
    return {
        "LaECE_0": laece(*found),
        "LaECE_0_shown": laece(*shown),
        "LaACE_0": laace(*found),
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
    """Of what is shown."""
    return float(2 * is_true.sum() / (len(is_true) + num_objects)) if num_objects else -1.0


def _false_alarms(images: NDArray[np.int64], empty_images: NDArray[np.int64]) -> float:
    """Detections on an image that has no object, given the image of each that is shown."""
    return float(np.isin(images, empty_images).sum() / len(empty_images)) if len(empty_images) else -1.0


def _mapped(matching: Matching, score_map: ScoreMap) -> Matching:
    return replace(matching, scores=score_map(matching.scores, matching.detection_classes))


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
        ious: [D] with the object that was found, by any overlap; 0 without one, see `brs_detr.analysis.matching`.
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
    indices = np.searchsorted(bin_edges(num_bins, upper), scores, side="left") - 1
    return np.clip(indices, 0, num_bins - 1)


def _binned_error(scores: NDArray[Any], targets: NDArray[Any], num_bins: int) -> float:
    if not len(scores):
        return -1.0
    return float(np.abs(np.bincount(bins_of(scores, num_bins), scores - targets)).sum() / len(scores))


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
