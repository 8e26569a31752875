"""Bring a checked annotation file into the one form that training and evaluation read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from brs_detr.data.boxes import clip_boxes, judge_boxes, xywh_from_xyxy, xyxy_from_xywh
from brs_detr.data.checks.annotation_check import find_annotation_faults
from brs_detr.data.findings import Findings
from brs_detr.data.segmentations import usable_segmentation


def clean_annotations(dataset: dict[str, Any], file: Path) -> tuple[dict[str, Any], Findings]:
    """Refuse what cannot be used, drop empty boxes, clip the rest to the image, fill in what COCO tools may omit.

    Args:
        dataset: from `brs_detr.data.annotations.read_annotations`; it is not changed.
        file: where it was read, for the messages.

    Returns:
        A data set with categories in the order of their ids, with `area` and `iscrowd` in every annotation, without
        outlines that cannot be used, and the findings, none of them fatal.

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
        completed(annotation, box, (owner["height"], owner["width"]))
        for annotation, box, owner, empty in zip(annotations, boxes_xywh, owners, is_empty, strict=True)
        if not empty
    ]
    categories = sorted(dataset["categories"], key=lambda category: category["id"])
    return {**dataset, "categories": categories, "annotations": kept}, findings


def completed(
    annotation: dict[str, Any], box_xywh: list[float], size: tuple[float, float], is_new: bool = False
) -> dict[str, Any]:
    """An annotation with all that COCO tools ask for; its area stays that of a mask, if there is one.

    Args:
        annotation: as found.
        box_xywh: that it gets.
        size: (h, w) of its image.
        is_new: whether this is another box, so that a stated area without a mask is wrong.
    """
    outline = usable_segmentation(annotation.get("segmentation"), size)
    stated = annotation.get("area")
    is_stated = stated is not None and math.isfinite(stated) and stated > 0 and (outline or not is_new)
    is_left_out = outline is None and bool(annotation.get("segmentation"))
    rest = {key: value for key, value in annotation.items() if key != "segmentation" or not is_left_out}
    return {
        **(rest if outline is None else {**rest, "segmentation": outline}),
        "bbox": box_xywh,
        "area": stated if is_stated else box_xywh[2] * box_xywh[3],
        "iscrowd": int(annotation.get("iscrowd") or 0),
    }
