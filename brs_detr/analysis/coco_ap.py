"""COCO average precision by pycocotools, at full precision."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brs_detr.analysis.matching import Matching, read_matching
from brs_detr.analysis.thresholds import f1_curves

if TYPE_CHECKING:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

FALLBACK_THRESHOLD = 0.3  # where nothing was found to measure one on

_STAT_NAMES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
)
METRIC_NAMES = (*_STAT_NAMES, "F1", "F1_threshold")
DETECTIONS = (1, 10, 100)  # an image, most confident first

Shape = Literal["bbox", "segm"]


@dataclass(frozen=True)
class ClassAP:
    """Average precision of one class, overall and by size, and the number of its boxes (crowds not counted)."""

    name: str
    AP: float
    AP50: float
    AP75: float
    AP_small: float
    AP_medium: float
    AP_large: float
    num_boxes: int


@dataclass(frozen=True)
class CocoAP:
    """Box metrics, each in [0, 1], or -1 where there is no ground truth to measure it on.

    Besides the 12 numbers of COCO there are `F1`, the best over all scores at IoU 0.5, and `F1_threshold`, the lowest
    score to keep for it. `matching` says which detection found which object at this IoU.
    """

    metrics: dict[str, float]
    per_class: list[ClassAP]
    matching: Matching = field(compare=False)


def coco_ap(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], *, masks: bool = False) -> CocoAP:
    """Measure detections against a COCO data set.

    Args:
        dataset: COCO object that went through `brs_detr.data.checks.cleaning.clean_annotations`.
        predictions: entries `image_id`, `category_id`, `bbox` (x, y, w, h in pixels) and `score`; may be empty.
        masks: measure `segmentation` (run lengths) as well, as `mask_AP`, `mask_AP50`, ...

    Returns:
        The metrics, and the classes in the order of their category ids.
    """
    boxes = summarize(evaluate_boxes(dataset, predictions))
    if not masks:
        return boxes
    metrics = boxes.metrics | mask_metrics(evaluate_boxes(dataset, predictions, "segm"))
    return CocoAP(metrics, boxes.per_class, boxes.matching)


def mask_metrics(evaluation: COCOeval) -> dict[str, float]:
    """The six average precisions of masks."""
    return {f"mask_{name}": value for name, value in zip(_STAT_NAMES[:6], _stats(evaluation), strict=False)}


def evaluate_boxes(
    dataset: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    shape: Shape = "bbox",
    detections: Sequence[int] = DETECTIONS,
) -> COCOeval:
    """Match detections with objects by pycocotools.

    Data set and predictions are those of `coco_ap`; ``detections`` are the numbers an image that recall is measured
    with, average precision with the last of them. In the result the id of a detection or an object is its place among
    the predictions or annotations, counted from 1: pycocotools takes whatever matched an id of 0 for unmatched.
    """
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        objects = [{**annotation, "id": number} for number, annotation in enumerate(dataset["annotations"], start=1)]
        evaluation = COCOeval(_indexed(dataset, objects), _detections(dataset, predictions, shape), shape)
        evaluation.params.maxDets = list(detections)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def summarize(evaluation: COCOeval) -> CocoAP:
    """The numbers of what `evaluate_boxes` returned."""
    metrics = {name: float(value) for name, value in zip(_STAT_NAMES, _stats(evaluation), strict=True)}
    matching = read_matching(evaluation)
    metrics["F1"], metrics["F1_threshold"] = best_f1(matching)
    return CocoAP(metrics, _per_class(evaluation), matching)


def _stats(evaluation: COCOeval) -> list[float]:
    """The twelve numbers of COCO, in its order."""
    precision = evaluation.eval["precision"][..., -1]  # [IoU threshold, recall, class, size]
    recall = evaluation.eval["recall"]  # [IoU threshold, class, size, number of detections]
    by_size = np.moveaxis(precision, -1, 0)
    precisions = [by_size[0], by_size[0][0], by_size[0][5], *by_size[1:]]
    recalls = [*np.moveaxis(recall[:, :, 0], -1, 0), *np.moveaxis(recall[:, :, 1:, -1], -1, 0)]
    return [_mean(values) for values in (*precisions, *recalls)]


def best_f1(matching: Matching) -> tuple[float, float]:
    """Best F1 of all classes together at IoU 0.5, and the lowest score that is kept for it."""
    if not len(matching.objects):
        return -1.0, FALLBACK_THRESHOLD
    if not matching.is_true.any():
        return 0.0, FALLBACK_THRESHOLD
    scores, _, _, f1 = f1_curves(matching.scores, matching.is_true, len(matching.objects))
    return float(f1.max()), float(scores[f1.argmax()])


def _detections(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], shape: Shape) -> COCO:
    from pycocotools import mask

    found = [
        {
            **entry,
            "id": number,
            "area": entry["bbox"][2] * entry["bbox"][3] if shape == "bbox" else float(mask.area(entry["segmentation"])),
            "iscrowd": 0,
        }
        for number, entry in enumerate(predictions, start=1)
    ]
    return _indexed(dataset, found)


def _indexed(dataset: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> COCO:
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {**dataset, "annotations": annotations}
    coco.createIndex()
    return coco


def _per_class(evaluation: Any) -> list[ClassAP]:
    precision = evaluation.eval["precision"][..., -1]  # [IoU threshold, recall, class, size]
    ground_truth = evaluation.cocoGt
    table = []
    for place, category in enumerate(evaluation.params.catIds):
        boxes = ground_truth.loadAnns(ground_truth.getAnnIds(catIds=[category], iscrowd=False))
        name = str(ground_truth.cats[category]["name"])
        of_class = precision[:, :, place]
        table.append(
            ClassAP(
                name,
                AP=_mean(of_class[..., 0]),
                AP50=_mean(of_class[0, ..., 0]),
                AP75=_mean(of_class[5, ..., 0]),
                AP_small=_mean(of_class[..., 1]),
                AP_medium=_mean(of_class[..., 2]),
                AP_large=_mean(of_class[..., 3]),
                num_boxes=len(boxes),
            )
        )
    return table


def _mean(precision: np.ndarray) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else -1.0
