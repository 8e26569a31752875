"""COCO AP for mmengine's loops: `val_evaluator = dict(type="CocoAPMetric", ann_file=...)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric

from brs_detr.analysis.coco_ap import CocoAP, coco_ap
from brs_detr.data.annotations import read_annotations
from brs_detr.data.cleaning import clean_annotations


class CocoAPMetric(BaseMetric):
    """Box AP of COCO without rounding. Labels find their category by class name, so ids may be any.

    After `evaluate`, `result` holds the metrics with the AP of each class, and `predictions` the detections as
    COCO entries.

    Args:
        ann_file: COCO annotation file of the images that are evaluated.
        collect_device: where results of several processes are gathered, `cpu` or `gpu`.
        prefix: put before the metric names, `coco` by default.
    """

    default_prefix = "coco"

    def __init__(self, ann_file: str, collect_device: str = "cpu", prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.dataset, _ = clean_annotations(read_annotations(ann_file), Path(ann_file))
        self.result: CocoAP | None = None
        self.predictions: list[dict[str, Any]] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the detections of a batch as COCO entries, one list per image."""
        self.results.extend(self._entries(sample) for sample in data_samples)

    def _entries(self, sample: dict[str, Any]) -> list[dict[str, Any]]:
        instances = sample["pred_instances"]
        category_of = self._category_of_label()
        detections = zip(
            instances["bboxes"].tolist(), instances["scores"].tolist(), instances["labels"].tolist(), strict=True
        )
        return [
            {
                "image_id": sample["img_id"],
                "category_id": category_of[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            for (x1, y1, x2, y2), score, label in detections
            if label in category_of
        ]

    def _category_of_label(self) -> dict[int, int]:
        id_of_name = {category["name"]: category["id"] for category in self.dataset["categories"]}
        class_names = self.dataset_meta["classes"]
        return {label: id_of_name[name] for label, name in enumerate(class_names) if name in id_of_name}

    def compute_metrics(self, results: list[list[dict[str, Any]]]) -> dict[str, float]:
        """Average precision and recall of all images, see `coco_ap`."""
        self.predictions = [entry for entries in results for entry in entries]
        self.result = coco_ap(self.dataset, self.predictions)
        return self.result.metrics
