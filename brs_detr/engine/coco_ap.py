"""COCO average precision by pycocotools, at full precision."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from pycocotools.coco import COCO

_STAT_NAMES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
)


@dataclass(frozen=True)
class ClassAP:
    """Average precision of one class and the number of its ground-truth boxes (crowds not counted)."""

    name: str
    AP: float
    AP50: float
    num_boxes: int


@dataclass(frozen=True)
class CocoAP:
    """COCO box metrics, each in [0, 1], or -1 where there is no ground truth to measure it on."""

    metrics: dict[str, float]
    per_class: list[ClassAP]


def coco_ap(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> CocoAP:
    """Measure detections against a COCO data set.

    Args:
        dataset: COCO object that went through `brs_detr.data.cleaning.clean_annotations`.
        predictions: entries `image_id`, `category_id`, `bbox` (x, y, w, h in pixels) and `score`; may be empty.

    Returns:
        The 12 COCO numbers and the classes in the order of their category ids.
    """
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_indexed(dataset, dataset["annotations"]), _detections(dataset, predictions), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = {name: float(value) for name, value in zip(_STAT_NAMES, evaluation.stats, strict=True)}
    return CocoAP(metrics, _per_class(evaluation))


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
