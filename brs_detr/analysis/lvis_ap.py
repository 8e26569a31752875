"""Average precision by the protocol of LVIS, whose images are annotated for some of its classes only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from brs_detr.analysis.coco_ap import CocoAP, evaluate_boxes, mask_metrics, summarize

MOST_DETECTIONS = 300  # an image
DETECTIONS = (1, 10, MOST_DETECTIONS)
FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}


def is_federated(dataset: Mapping[str, Any]) -> bool:
    """Whether an annotation file is one of LVIS: it says of each image which classes were looked for and not found."""
    return bool(dataset["images"]) and all("neg_category_ids" in image for image in dataset["images"])


def lvis_ap(dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], *, masks: bool = False) -> CocoAP:
    """Measure detections against LVIS (Gupta et al., CVPR 2019).

    At most 300 detections an image count. Those of a class that an image was not annotated for are left out, and where
    not all objects of a class are annotated, a detection without an object is neither right nor wrong. Arguments and
    result are those of `brs_detr.analysis.coco_ap.coco_ap`; `AP_rare`, `AP_common` and `AP_frequent` are added. What is
    called `AR_100` there is the recall of 300 detections here.
    """
    objects, kept = federated(dataset, predictions)
    boxes = evaluate_boxes(objects, kept, detections=DETECTIONS)
    result = summarize(boxes)
    metrics = result.metrics | _by_frequency(boxes, "AP")
    if masks:
        outlines = evaluate_boxes(objects, kept, "segm", DETECTIONS)
        metrics |= mask_metrics(outlines) | _by_frequency(outlines, "mask_AP")
    return CocoAP(metrics, result.per_class, result.matching)


def federated(
    dataset: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """A data set and detections for which the protocol of COCO gives the numbers of LVIS.

    Where a class is not annotated exhaustively, its image gets a crowd of it that covers everything: COCO ignores what
    lies in a crowd.
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
    return {
        f"{name}_{word}": float(group[group > -1].mean()) if (group > -1).any() else -1.0
        for word, group in groups.items()
    }
