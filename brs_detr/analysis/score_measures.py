"""What scores are worth: how far they are from what they promise, and what a threshold on them keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.analysis.calibration_errors import DECE_LOWEST, dece, laace, laece, mean_over_classes
from brs_detr.analysis.coco_ap import best_f1
from brs_detr.analysis.matching import Matching
from brs_detr.analysis.overlaps import Overlaps, read_overlaps
from brs_detr.analysis.reliability import Reliability, reliability
from brs_detr.analysis.thresholds import ThresholdCurves, threshold_curves
from brs_detr.runtime.calibration import Thresholds
from brs_detr.runtime.score_map import ScoreMap

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

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
    f1, threshold = best_f1(matching)
    curves = threshold_curves(matching, names, threshold, f1)
    per_class = {name: _measure_class(scored, place, lowest[place], curves) for place, name in enumerate(names)}
    counted = [row for row in per_class.values() if row["objects"] and row["detections"]]
    overall = {
        **{key: mean_over_classes([row[key] for row in counted]) for key in MEASURES if key.startswith("La")},
        **_deces(scores, is_true, is_shown),
        "false_alarms": _false_alarms(matching.images[is_shown], scored.empty_images),
        "F1": _f1(is_true[is_shown], len(matching.objects)),
        "best_F1": f1,
        "best_threshold": threshold,
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
            name: reliability(scores[classes == place], is_true[classes == place], upper)
            for place, name in enumerate(names)
        },
    )


def _measure_class(scored: ScoredDetections, place: int, threshold: float, curves: ThresholdCurves) -> dict[str, float]:
    matching, overlaps = scored.matching, scored.overlaps
    of_class = matching.detection_classes == place
    scores, is_true = matching.scores[of_class], matching.is_true[of_class]
    num_objects = int((matching.object_classes == place).sum())
    overlapping = overlaps.matching.detection_classes == place
    found = np.stack([overlaps.matching.scores[overlapping], overlaps.ious[overlapping]])
    shown = found[:, found[0] >= threshold]
    best_threshold, best = curves.per_class.get(scored.class_names[place], (-1.0, -1.0))
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
