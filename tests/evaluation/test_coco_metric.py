from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from two_images import BOX, dataset

from brs_detr.data.synthetic.shapes import run_lengths
from brs_detr.errors import UserError
from brs_detr.evaluation.coco_metric import CocoAPMetric


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
    metric.dataset_meta = {"classes": ("dog", "cat")}  # not in the order of the file
    return metric


def test_labels_find_their_category_by_name(metric: CocoAPMetric) -> None:
    metric.process({}, [sample(7, [[10, 10, 30, 30]], [0]), sample(8, [], [])])
    assert metric.evaluate(2)["coco/AP"] == pytest.approx(1)
    assert metric.predictions == [{"image_id": 7, "category_id": 9, "bbox": [10, 10, 20, 20], "score": 0.5}]


def test_no_prediction_at_all(metric: CocoAPMetric) -> None:
    metric.process({}, [sample(7, [], []), sample(8, [], [])])
    assert metric.evaluate(2)["coco/AP"] == 0


def test_masks_are_measured_beside_boxes(tmp_path: Path) -> None:
    picture = np.zeros((64, 64), bool)
    picture[10:30, 10:30] = True
    data = dataset((7, 9, BOX))
    data["annotations"][0]["segmentation"] = {"size": [64, 64], "counts": run_lengths(picture)}
    data["images"] = [{**image, "file_name": "a.jpg"} for image in data["images"]]
    (tmp_path / "val.json").write_text(json.dumps(data))
    metric = CocoAPMetric(str(tmp_path / "val.json"), masks=True)
    metric.dataset_meta = {"classes": ("cat", "dog")}
    half = picture.copy()
    half[20:] = False
    one = sample(7, [[10, 10, 30, 30]], [1])
    one["pred_instances"]["masks"] = half[None]
    metric.process({}, [one])
    metrics = metric.evaluate(1)
    assert (metrics["coco/AP50"], metrics["coco/mask_AP50"]) == (pytest.approx(1), pytest.approx(1))
    assert (metrics["coco/AP75"], metrics["coco/mask_AP75"]) == (pytest.approx(1), 0)
    json.dumps(metric.predictions)


def test_masks_cannot_be_measured_without_outlines(tmp_path: Path) -> None:
    data = dataset((7, 9, BOX))
    (tmp_path / "val.json").write_text(
        json.dumps({**data, "images": [{**image, "file_name": "a.jpg"} for image in data["images"]]})
    )
    with pytest.raises(UserError, match="1 of 1 objects have no `segmentation`"):
        CocoAPMetric(str(tmp_path / "val.json"), masks=True)
