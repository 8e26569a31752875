"""The protocol of LVIS against an independent implementation, on data with all its peculiarities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from brs_detr.analysis.coco_ap import is_federated, lvis_ap

SIZE = (80, 120)
NUM_CLASSES = 6


def made_up(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Make images annotated for some classes, some of them not exhaustively, and detections near and far."""
    draw = np.random.default_rng(seed)
    h, w = SIZE
    categories = [
        {"id": 10 * number, "name": f"class {number}", "frequency": "rcf"[number % 3]} for number in range(NUM_CLASSES)
    ]
    images, annotations, predictions = [], [], []
    for image_id in range(1, 9):
        classes = 10 * draw.permutation(NUM_CLASSES)
        present, absent = classes[:3].tolist(), classes[3:5].tolist()
        images.append(
            {
                "id": image_id,
                "height": h,
                "width": w,
                "neg_category_ids": absent,
                "not_exhaustive_category_ids": present[:1],
            }
        )
        for category in present:
            for _ in range(draw.integers(1, 4)):
                x, y = draw.uniform(0, w - 30), draw.uniform(0, h - 30)
                box = [x, y, *draw.uniform(4, 28, 2)]
                annotations.append(
                    {"image_id": image_id, "category_id": category, "bbox": box, "area": box[2] * box[3]}
                )
                if draw.random() < 0.8:
                    moved = (np.array(box) + draw.normal(0, 1.5, 4)).clip(1).tolist()
                    predictions.append(detection(image_id, category, moved, draw.random()))
        for _ in range(12):  # of any class, those not annotated included
            box = [draw.uniform(0, w - 30), draw.uniform(0, h - 30), *draw.uniform(4, 28, 2)]
            predictions.append(detection(image_id, int(10 * draw.integers(NUM_CLASSES)), box, draw.random()))
    for number, annotation in enumerate(annotations, start=1):
        annotation.update(id=number, iscrowd=0, segmentation=[outline(annotation["bbox"])])
    return {"images": images, "annotations": annotations, "categories": categories}, predictions


def detection(image_id: int, category: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category, "bbox": box, "score": score}


def outline(box: list[float]) -> list[float]:
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


@pytest.mark.parametrize("seed", range(5))
def test_equals_another_implementation(seed):
    dataset, predictions = made_up(seed)
    assert is_federated(dataset)
    ours = lvis_ap(dataset, predictions).metrics
    truth = COCO(dataset)
    other = COCOeval_faster(truth, truth.loadRes(predictions), "bbox", lvis_style=True, print_function=lambda *_: None)
    other.params.maxDets = [300]
    other.evaluate()
    other.accumulate()
    other.summarize()
    names = {"AP": "AP_all", "AP50": "AP_50", "AP75": "AP_75", "AP_small": "AP_small"}
    names |= {"AP_rare": "APr", "AP_common": "APc", "AP_frequent": "APf"}
    for name, theirs in names.items():
        assert ours[name] == pytest.approx(other.stats_as_dict[theirs], abs=1e-9), name
    assert 0 < ours["AP"] < 1
