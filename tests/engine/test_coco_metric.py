from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from two_images import BOX, dataset

from brs_detr.engine.coco_metric import CocoAPMetric


def sample(image_id: int, boxes_xyxy: list[list[float]], labels: list[int]) -> dict:
    found = {"bboxes": np.reshape(boxes_xyxy, (-1, 4)), "scores": np.full(len(labels), 0.5), "labels": np.array(labels)}
    return {"img_id": image_id, "pred_instances": found}


@pytest.fixture
def metric(tmp_path: Path) -> CocoAPMetric:
    (tmp_path / "val.json").write_text(
        json.dumps(
            {**(data := dataset((7, 9, BOX))), "images": [{**image, "file_name": "a.jpg"} for image in data["images"]]}
        )
    )
    metric = CocoAPMetric(str(tmp_path / "val.json"))
    metric.dataset_meta = {"classes": ("dog", "cat")}  # another order than that of the file
    return metric


def test_labels_find_their_category_by_name(metric: CocoAPMetric) -> None:
    metric.process({}, [sample(7, [[10, 10, 30, 30]], [0]), sample(8, [], [])])
    assert metric.evaluate(2)["coco/AP"] == pytest.approx(1)
    assert metric.predictions == [{"image_id": 7, "category_id": 9, "bbox": [10, 10, 20, 20], "score": 0.5}]


def test_no_prediction_at_all(metric: CocoAPMetric) -> None:
    metric.process({}, [sample(7, [], []), sample(8, [], [])])
    assert metric.evaluate(2)["coco/AP"] == 0
