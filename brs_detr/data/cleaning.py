"""Bring a checked annotation file into the one form that training and evaluation read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brs_detr.data.boxes import clip_boxes, judge_boxes, xywh_from_xyxy, xyxy_from_xywh
from brs_detr.data.checks.annotation_check import find_annotation_faults
from brs_detr.data.findings import Findings


def clean_annotations(dataset: dict[str, Any], file: Path) -> tuple[dict[str, Any], Findings]:
    """Refuse what cannot be used, drop empty boxes, clip the rest to the image, fill in what COCO tools may omit.

    Args:
        dataset: from `brs_detr.data.annotations.read_annotations`; it is not changed.
        file: where it was read, for the messages.

    Returns:
        A data set with categories in the order of their ids and with `area` and `iscrowd` in every annotation, and the
        findings, none of them fatal.

    Raises:
        UserError: an entry that `find_annotation_faults` calls fatal.
    """
    findings = find_annotation_faults(dataset, file)
    findings.refuse_fatal()
    images = {image["id"]: image for image in dataset["images"]}
    annotations = dataset["annotations"]
    boxes_xyxy = xyxy_from_xywh([annotation["bbox"] for annotation in annotations])
    owners = [images[annotation["image_id"]] for annotation in annotations]
    sizes = np.reshape([(image["height"], image["width"]) for image in owners], (-1, 2))
    boxes_xywh = xywh_from_xyxy(clip_boxes(boxes_xyxy, sizes)).tolist()
    is_empty = judge_boxes(boxes_xyxy, sizes).empty
    kept = [
        _completed(annotation, box)
        for annotation, box, empty in zip(annotations, boxes_xywh, is_empty, strict=True)
        if not empty
    ]
    categories = sorted(dataset["categories"], key=lambda category: category["id"])
    return {**dataset, "categories": categories, "annotations": kept}, findings


def _completed(annotation: dict[str, Any], box_xywh: list[float]) -> dict[str, Any]:
    stated = annotation.get("area")
    area = stated if stated and stated > 0 else box_xywh[2] * box_xywh[3]
    return {**annotation, "bbox": box_xywh, "area": area, "iscrowd": int(annotation.get("iscrowd") or 0)}
