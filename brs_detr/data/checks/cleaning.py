"""Bring a checked annotation file into the one form that training and evaluation read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from brs_detr.data.boxes import clip_boxes, usable_segmentation, xywh_from_xyxy
from brs_detr.data.checks.annotation_check import find_annotation_faults, judged
from brs_detr.data.findings import Findings


def clean_annotations(dataset: dict[str, Any], file: Path) -> tuple[dict[str, Any], Findings]:
    """Refuse what cannot be used, drop empty boxes, clip the others, and add fields that COCO tools may omit.

    Args:
        dataset: from `brs_detr.data.annotations.read_annotations`; it is not changed.
        file: its name in messages.

    Returns:
        A dataset with categories in the order of their ids, `area` and `iscrowd` in every annotation, and no unusable
        outlines; and the findings, none of them fatal.

    Raises:
        UserError: there is a fatal finding.
    """
    findings = find_annotation_faults(dataset, file)
    findings.refuse_fatal()
    images = {image["id"]: image for image in dataset["images"]}
    annotations = dataset["annotations"]
    owners, boxes_xyxy, sizes, verdict = judged(annotations, images)
    boxes_xywh = xywh_from_xyxy(clip_boxes(boxes_xyxy, sizes)).tolist()
    kept = [
        completed(annotation, box, owner)
        for annotation, box, owner, empty in zip(annotations, boxes_xywh, owners, verdict.empty, strict=True)
        if not empty
    ]
    categories = sorted(dataset["categories"], key=lambda category: category["id"])
    return {**dataset, "categories": categories, "annotations": kept}, findings


def completed(
    annotation: dict[str, Any], box_xywh: list[float], image: dict[str, Any], is_new: bool = False
) -> dict[str, Any]:
    """An annotation with all that COCO tools ask for; its area stays that of a mask, if there is one.

    Args:
        annotation: as found.
        box_xywh: its box from now on.
        image: that it is on.
        is_new: whether the box differs from the stated one, so that a stated area without a mask is wrong.
    """
    outline = usable_segmentation(annotation.get("segmentation"), (image["height"], image["width"]))
    stated = annotation.get("area")
    is_stated = stated is not None and math.isfinite(stated) and stated > 0 and (outline or not is_new)
    completed = {
        **annotation,
        "bbox": box_xywh,
        "area": stated if is_stated else box_xywh[2] * box_xywh[3],
        "iscrowd": int(annotation.get("iscrowd") or 0),
    }
    if outline is not None:
        completed["segmentation"] = outline
    elif annotation.get("segmentation"):
        del completed["segmentation"]
    return completed
