"""Average precision by the protocols of COCO (computed by pycocotools, unrounded) and LVIS."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brs_detr.analysis.curves import best_f1
from brs_detr.analysis.matching import Matching, read_matching

if TYPE_CHECKING:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

_STAT_NAMES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
)
METRIC_NAMES = (*_STAT_NAMES, "F1", "F1_threshold")
DETECTIONS = (1, 10, 100)  # per image, highest scores first
MOST_DETECTIONS = 300  # per image in LVIS
LVIS_DETECTIONS = (1, 10, MOST_DETECTIONS)
FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}

Shape = Literal["bbox", "segm"]


@dataclass(frozen=True)
class ClassAP:
    """Average precision of one class, overall and by size, and the number of its boxes without crowds."""

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
    """Box metrics, each in [0, 1], or -1 without ground truth to measure it on.

    Besides the 12 COCO metrics there are `F1`, the best at IoU 0.5 over all thresholds, and `F1_threshold`, the
    threshold for it. `matching` says which detection found which object at this IoU.
    """

    metrics: dict[str, float]
    per_class: list[ClassAP]
    matching: Matching = field(compare=False)


def coco_ap(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], *, masks: bool = False) -> CocoAP:
    """Evaluate detections against a COCO dataset.

    Args:
        dataset: COCO object from `brs_detr.data.checks.cleaning.clean_annotations`.
        predictions: entries `image_id`, `category_id`, `bbox` (x, y, w, h in pixels) and `score`; may be empty.
        masks: evaluate `segmentation` (run-length encoded), too, as `mask_AP`, `mask_AP50`, ...

    Returns:
        The metrics, and the classes in the order of their category ids.
    """
    boxes = summarize(evaluate_boxes(dataset, predictions))
    if not masks:
        return boxes
    metrics = boxes.metrics | mask_metrics(evaluate_boxes(dataset, predictions, "segm"))
    return CocoAP(metrics, boxes.per_class, boxes.matching)


def mask_metrics(evaluation: COCOeval) -> dict[str, float]:
    """Return the six average precisions of masks."""
    return {f"mask_{name}": value for name, value in zip(_STAT_NAMES[:6], _stats(evaluation), strict=False)}


def evaluate_boxes(
    dataset: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    shape: Shape = "bbox",
    detections: Sequence[int] = DETECTIONS,
) -> COCOeval:
    """Match detections with objects by pycocotools.

    Dataset and predictions are those of `coco_ap`. Recall is measured with each number of ``detections`` per image,
    average precision with the last one. In the result, the id of a detection or object is its index among the
    predictions or annotations plus 1: pycocotools takes a match with id 0 for no match.
    """
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        objects = [{**annotation, "id": number} for number, annotation in enumerate(dataset["annotations"], start=1)]
        evaluation = COCOeval(_indexed(dataset, objects), _detections(dataset, predictions, shape), shape)
        evaluation.params.maxDets = list(detections)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def average_precision(
    dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], *, masks: bool = False
) -> CocoAP:
    """Evaluate by `lvis_ap` if the dataset is LVIS, else by `coco_ap`."""
    return (lvis_ap if is_federated(dataset) else coco_ap)(dataset, predictions, masks=masks)


def evaluate_by_protocol(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> COCOeval:
    """Match boxes by the protocol of LVIS if the dataset is LVIS, else by that of COCO."""
    if is_federated(dataset):
        return evaluate_boxes(*federated(dataset, predictions), detections=LVIS_DETECTIONS)
    return evaluate_boxes(dataset, predictions)


def summarize(evaluation: COCOeval) -> CocoAP:
    """Return the metrics of a result of `evaluate_boxes`."""
    metrics = {name: float(value) for name, value in zip(_STAT_NAMES, _stats(evaluation), strict=True)}
    matching = read_matching(evaluation)
    metrics["F1"], metrics["F1_threshold"] = best_f1(matching)
    return CocoAP(metrics, _per_class(evaluation), matching)


def _stats(evaluation: COCOeval) -> list[float]:
    """Return the 12 COCO metrics in their order."""
    precision = evaluation.eval["precision"][..., -1]  # [IoU threshold, recall, class, size]
    recall = evaluation.eval["recall"]  # [IoU threshold, class, size, number of detections]
    by_size = np.moveaxis(precision, -1, 0)
    precisions = [by_size[0], by_size[0][0], by_size[0][5], *by_size[1:]]
    recalls = [*np.moveaxis(recall[:, :, 0], -1, 0), *np.moveaxis(recall[:, :, 1:, -1], -1, 0)]
    return [_mean(values) for values in (*precisions, *recalls)]


def _detections(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], shape: Shape) -> COCO:
    from pycocotools import mask

    detections = [
        {
            **entry,
            "id": number,
            "area": entry["bbox"][2] * entry["bbox"][3] if shape == "bbox" else float(mask.area(entry["segmentation"])),
            "iscrowd": 0,
        }
        for number, entry in enumerate(predictions, start=1)
    ]
    return _indexed(dataset, detections)


def _indexed(dataset: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> COCO:
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {**dataset, "annotations": annotations}
    coco.createIndex()
    return coco


def _per_class(evaluation: Any) -> list[ClassAP]:
    precision = evaluation.eval["precision"][..., -1]  # [IoU threshold, recall, class, size]
    truth, rows = evaluation.cocoGt, []
    for index, category in enumerate(evaluation.params.catIds):
        every, small, medium, large = np.moveaxis(precision[:, :, index], -1, 0)
        rows.append(
            ClassAP(
                str(truth.cats[category]["name"]),
                AP=_mean(every),
                AP50=_mean(every[0]),
                AP75=_mean(every[5]),
                AP_small=_mean(small),
                AP_medium=_mean(medium),
                AP_large=_mean(large),
                num_boxes=len(truth.getAnnIds(catIds=[category], iscrowd=False)),
            )
        )
    return rows


def _mean(precision: np.ndarray) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else -1.0


def is_federated(dataset: Mapping[str, Any]) -> bool:
    """Whether the dataset is LVIS, which lists for each image the classes that are known to be absent."""
    return bool(dataset["images"]) and all("neg_category_ids" in image for image in dataset["images"])


def lvis_ap(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], *, masks: bool = False) -> CocoAP:
    """Evaluate detections against LVIS (Gupta et al., CVPR 2019).

    At most 300 detections per image count. Those of a class that an image was not annotated for are left out, and where
    a class is not annotated exhaustively, unmatched detections are neither right nor wrong. Arguments and result are
    those of `coco_ap`, plus `AP_rare`, `AP_common` and `AP_frequent`; `AR_100` is the recall of 300 detections.
    """
    objects, kept = federated(dataset, predictions)
    boxes = evaluate_boxes(objects, kept, detections=LVIS_DETECTIONS)
    result = summarize(boxes)
    metrics = result.metrics | _by_frequency(boxes, "AP")
    if masks:
        outlines = evaluate_boxes(objects, kept, "segm", LVIS_DETECTIONS)
        metrics |= mask_metrics(outlines) | _by_frequency(outlines, "mask_AP")
    return CocoAP(metrics, result.per_class, result.matching)


def federated(
    dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """Return a dataset and detections for which the protocol of COCO gives the results of LVIS.

    For each class that an image is not annotated exhaustively for, it gets a crowd that covers the whole image: COCO
    ignores detections in a crowd.
    """
    annotated = {image["id"]: set(image["neg_category_ids"]) for image in dataset["images"]}
    for annotation in dataset["annotations"]:
        annotated[annotation["image_id"]].add(annotation["category_id"])
    crowds = [
        _covering_crowd(image, category)
        for image in dataset["images"]
        for category in image.get("not_exhaustive_category_ids", [])
    ]
    by_image = defaultdict(list)
    for entry in predictions:
        by_image[entry["image_id"]].append(entry)
    best = [sorted(entries, key=lambda entry: -entry["score"])[:MOST_DETECTIONS] for entries in by_image.values()]
    kept = [entry for entry in chain(*best) if entry["category_id"] in annotated[entry["image_id"]]]
    return {**dataset, "annotations": [*dataset["annotations"], *crowds]}, kept


def _covering_crowd(image: Mapping[str, Any], category: int) -> dict[str, Any]:
    h, w = image["height"], image["width"]
    return {
        "image_id": image["id"],
        "category_id": category,
        "bbox": [0, 0, w, h],
        "area": w * h,
        "iscrowd": 1,
        "segmentation": {"size": [h, w], "counts": [0, w * h]},
    }


def _by_frequency(evaluation: Any, name: str) -> dict[str, float]:
    precision = evaluation.eval["precision"][..., 0, -1]  # [IoU threshold, recall, class]
    frequency = np.array([evaluation.cocoGt.cats[category].get("frequency") for category in evaluation.params.catIds])
    groups = {word: precision[..., frequency == letter] for letter, word in FREQUENCIES.items()}
    return {f"{name}_{word}": _mean(group) for word, group in groups.items()}
