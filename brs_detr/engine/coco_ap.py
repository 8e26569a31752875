"""COCO average precision by pycocotools, at full precision."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pycocotools.coco import COCO

FALLBACK_THRESHOLD = 0.3  # where nothing was found to measure one on

_STAT_NAMES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
)
METRIC_NAMES = (*_STAT_NAMES, "F1", "F1_threshold")


@dataclass(frozen=True)
class ClassAP:
    """Average precision of one class and the number of its ground-truth boxes (crowds not counted)."""

    name: str
    AP: float
    AP50: float
    num_boxes: int


@dataclass(frozen=True)
class CocoAP:
    """Box metrics, each in [0, 1], or -1 where there is no ground truth to measure it on.

    Besides the 12 numbers of COCO there are `F1`, the best over all scores at IoU 0.5, and `F1_threshold`, the lowest
    score to keep for it. Ranking losses learn an order, not probabilities: which score is high, only data can tell.
    """

    metrics: dict[str, float]
    per_class: list[ClassAP]


def coco_ap(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> CocoAP:
    """Measure detections against a COCO data set.

    Args:
        dataset: COCO object that went through `brs_detr.data.cleaning.clean_annotations`.
        predictions: entries `image_id`, `category_id`, `bbox` (x, y, w, h in pixels) and `score`; may be empty.

    Returns:
        The metrics, and the classes in the order of their category ids.
    """
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_indexed(dataset, dataset["annotations"]), _detections(dataset, predictions), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = {name: float(value) for name, value in zip(_STAT_NAMES, evaluation.stats, strict=True)}
    metrics["F1"], metrics["F1_threshold"] = _best_f1(evaluation)
    return CocoAP(metrics, _per_class(evaluation))


def _best_f1(evaluation: Any) -> tuple[float, float]:
    """Best F1 of all classes together at IoU 0.5, and the lowest score that is kept for it."""
    all_sizes = evaluation.params.areaRng[0]
    images = [image for image in evaluation.evalImgs if image is not None and image["aRng"] == all_sizes]
    num_boxes = sum(int((~np.asarray(image["gtIgnore"], bool)).sum()) for image in images)
    if num_boxes == 0:
        return -1.0, FALLBACK_THRESHOLD
    counts = [~np.asarray(image["dtIgnore"][0], bool) for image in images]  # not matched with a crowd
    scores = np.concatenate([np.asarray(image["dtScores"])[c] for image, c in zip(images, counts, strict=True)])
    is_true = np.concatenate(
        [np.asarray(image["dtMatches"][0])[c] > 0 for image, c in zip(images, counts, strict=True)]
    )
    if not is_true.any():
        return 0.0, FALLBACK_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    f1 = 2 * is_true[order].cumsum() / (np.arange(1, len(order) + 1) + num_boxes)
    return float(f1.max()), float(scores[order[f1.argmax()]])


def _detections(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> COCO:
    boxes = [
        {**box, "id": number, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0}
        for number, box in enumerate(predictions, start=1)
    ]
    return _indexed(dataset, boxes)


def _indexed(dataset: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> COCO:
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {**dataset, "annotations": annotations}
    coco.createIndex()
    return coco


def _per_class(evaluation: Any) -> list[ClassAP]:
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [IoU threshold, recall, class]: all sizes, 100 boxes
    ground_truth = evaluation.cocoGt
    table = []
    for place, category in enumerate(evaluation.params.catIds):
        boxes = ground_truth.loadAnns(ground_truth.getAnnIds(catIds=[category], iscrowd=False))
        name = str(ground_truth.cats[category]["name"])
        of_class = precision[:, :, place]
        table.append(ClassAP(name, _mean(of_class), _mean(of_class[0]), len(boxes)))
    return table


def _mean(precision: np.ndarray) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else -1.0
