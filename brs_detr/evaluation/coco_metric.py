"""COCO AP for mmengine's loops: `val_evaluator = dict(type="CocoAPMetric", ann_file=...)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from brs_detr.analysis.coco_ap import CocoAP, average_precision
from brs_detr.data.annotations import read_annotations
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.errors import UserError


class CocoAPMetric(BaseMetric):
    """COCO AP without rounding, or AP of LVIS by its own protocol.

    Labels are matched to categories by class name, whatever the category ids.

    After `evaluate`, `result` holds the metrics and the AP of each class, and `predictions` the detections as COCO
    results.

    Args:
        ann_file: COCO annotation file of the evaluated images.
        masks: measure masks as well as boxes. Every object needs a `segmentation`.
        collect_device: where to gather the results of several processes, `cpu` or `gpu`.
        prefix: prefix of the metric names, by default `coco`.

    Raises:
        UserError: the annotation file cannot be used, or has no masks.
    """

    default_prefix = "coco"

    def __init__(
        self, ann_file: str, masks: bool = False, collect_device: str = "cpu", prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.masks = masks
        self.dataset, _ = clean_annotations(read_annotations(ann_file), Path(ann_file))
        without = sum(not annotation.get("segmentation") for annotation in self.dataset["annotations"])
        if masks and without:
            raise UserError(
                f"{ann_file}: {without:,} of {len(self.dataset['annotations']):,} objects have no `segmentation`.",
                "Masks can only be measured if every object has one.",
            )
        self.result: CocoAP | None = None
        self.predictions: list[dict[str, Any]] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Collect the detections of a batch as COCO results, one list per image."""
        self.results.extend(self._entries(sample) for sample in data_samples)

    def _entries(self, sample: dict[str, Any]) -> list[dict[str, Any]]:
        instances = sample["pred_instances"]
        category_of = self._category_of_label()
        outlines = run_lengths(instances["masks"]) if self.masks else [{}] * len(instances["labels"])
        detections = zip(
            instances["bboxes"].tolist(),
            instances["scores"].tolist(),
            instances["labels"].tolist(),
            outlines,
            strict=True,
        )
        return [
            {
                "image_id": sample["img_id"],
                "category_id": category_of[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
                **outline,
            }
            for (x1, y1, x2, y2), score, label, outline in detections
            if label in category_of
        ]

    def _category_of_label(self) -> dict[int, int]:
        id_of_name = {category["name"]: category["id"] for category in self.dataset["categories"]}
        class_names = self.dataset_meta["classes"]
        return {label: id_of_name[name] for label, name in enumerate(class_names) if name in id_of_name}

    def compute_metrics(self, results: list[list[dict[str, Any]]]) -> dict[str, float]:
        """Compute average precision and recall over all images, see `coco_ap` and `lvis_ap`."""
        self.predictions = [entry for entries in results for entry in entries]
        self.result = average_precision(self.dataset, self.predictions, masks=self.masks)
        return self.result.metrics


def run_lengths(masks: Any) -> list[dict[str, Any]]:
    """Encode masks [N, h, w] as COCO `segmentation` entries, ready for JSON."""
    from pycocotools import mask as coco_mask

    encoded = [coco_mask.encode(np.asfortranarray(np.asarray(mask, dtype=np.uint8))) for mask in masks]
    return [{"segmentation": {**code, "counts": code["counts"].decode()}} for code in encoded]
