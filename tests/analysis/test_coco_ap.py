from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from pycocotools import mask
from two_images import BOX, ELSEWHERE, dataset, found

from brs_detr.analysis.coco_ap import METRIC_NAMES, coco_ap, evaluate_boxes
from brs_detr.data.synthetic.shapes import run_lengths


def test_everything_found() -> None:
    result = coco_ap(dataset((7, 3, BOX), (8, 9, BOX)), [found(7, 3, BOX, 0.9), found(8, 9, BOX, 0.2)])
    assert result.metrics["AP"] == pytest.approx(1)
    assert [(row.name, row.num_boxes) for row in result.per_class] == [("cat", 1), ("dog", 1)]
    assert [row.AP for row in result.per_class] == pytest.approx([1, 1])


def test_nothing_found_is_zero() -> None:
    result = coco_ap(dataset((7, 3, BOX)), [])
    assert result.metrics["AP"] == result.metrics["AP50"] == result.metrics["AR_100"] == 0
    assert result.per_class[0].AP == 0


def test_false_positive_ahead_halves_the_precision() -> None:
    result = coco_ap(dataset((7, 3, BOX)), [found(7, 3, ELSEWHERE, 0.9), found(7, 3, BOX, 0.5)])
    assert result.metrics["AP"] == pytest.approx(0.5)


def test_no_ground_truth_is_minus_one() -> None:
    result = coco_ap(dataset(), [found(7, 3, BOX, 0.9)])
    assert result.metrics["AP"] == result.per_class[0].AP == -1


def test_class_without_ground_truth_does_not_count() -> None:
    result = coco_ap(dataset((7, 3, BOX)), [found(7, 3, BOX, 0.9), found(7, 9, BOX, 0.9)])
    assert result.metrics["AP"] == pytest.approx(1)
    assert result.per_class[1].AP == -1


def test_crowd_is_neither_missed_nor_counted() -> None:
    result = coco_ap(dataset((7, 3, BOX), crowd=1), [])
    assert result.metrics["AP"] == -1
    assert result.per_class[0].num_boxes == 0


def test_digits_are_kept() -> None:
    # 7 boxes, 1 found at IoU 0.8 (thresholds 0.50 to 0.75, rounding aside), precision 1 up to recall 1/7.
    truth = dataset(*[(7, 3, [8.0 * place, 0.0, 8.0, 8.0]) for place in range(7)])
    result = coco_ap(truth, [found(7, 3, [0.0, 0.0, 8.0, 6.5], 0.9)])
    recall_points = 15 / 101  # 0, 0.01, ... 0.14 are reached
    assert result.metrics["AP50"] == pytest.approx(recall_points, abs=1e-12)
    assert result.metrics["AP"] == pytest.approx(recall_points * 7 / 10, abs=1e-12)
    assert result.metrics["AP"] != round(result.metrics["AP"], 3)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    coco_ap(dataset((7, 3, BOX)), [found(7, 3, BOX, 0.9)])
    assert capsys.readouterr().out == ""


def test_best_f1_and_its_threshold() -> None:
    boxes = dataset((7, 3, BOX), (8, 9, BOX))
    predictions = [found(7, 3, BOX, 0.08), found(8, 9, BOX, 0.06), found(8, 9, ELSEWHERE, 0.05), found(7, 9, BOX, 0.04)]
    metrics = coco_ap(boxes, predictions).metrics
    assert (metrics["F1"], metrics["F1_threshold"]) == (1.0, 0.06)
    metrics = coco_ap(boxes, [found(7, 3, ELSEWHERE, 0.9), *predictions]).metrics
    assert (metrics["F1"], metrics["F1_threshold"]) == (pytest.approx(0.8), 0.06)


def test_f1_does_not_count_what_lies_in_a_crowd() -> None:
    boxes = dataset((7, 3, BOX))
    boxes["annotations"] += dataset((7, 3, ELSEWHERE), crowd=1)["annotations"]
    boxes["annotations"][1]["id"] = 2
    metrics = coco_ap(boxes, [found(7, 3, ELSEWHERE, 0.9), found(7, 3, BOX, 0.5)]).metrics
    assert (metrics["F1"], metrics["F1_threshold"]) == (1.0, 0.5)


@pytest.mark.parametrize(("boxes", "expected"), [(dataset(), -1.0), (dataset((7, 3, BOX)), 0.0)])
def test_without_a_true_find_the_threshold_is_the_fallback(boxes: dict, expected: float) -> None:
    metrics = coco_ap(boxes, [found(7, 3, ELSEWHERE, 0.9)]).metrics
    assert (metrics["F1"], metrics["F1_threshold"]) == (expected, 0.3)


def test_numbers_are_those_of_pycocotools() -> None:
    """Compare with the twelve numbers of its own summary, for boxes and masks, with crowds and boxes of every size."""
    draw = np.random.default_rng(0)
    truth, predictions = dataset(), []
    for number in range(1, 40):
        x, y, w, h = draw.uniform(0, 24, 2).tolist() + draw.uniform(3, 40, 2).tolist()
        category, image = (3, 9)[number % 2], (7, 8)[number // 20]
        outline = {"size": [64, 64], "counts": run_lengths(_filled(x, y, w, h))}
        entry = {"image_id": image, "category_id": category, "bbox": [x, y, w, h], "segmentation": outline}
        truth["annotations"].append({**entry, "id": number, "area": w * h, "iscrowd": int(number % 13 == 0)})
        moved = [value + shift for value, shift in zip((x, y, w, h), draw.normal(0, 1, 4), strict=True)]
        found_outline = mask.frPyObjects({"size": [64, 64], "counts": run_lengths(_filled(*moved))}, 64, 64)
        predictions.append({**found(image, category, moved, draw.random()), "segmentation": found_outline})
    ours = coco_ap(truth, predictions, masks=True).metrics
    for shape, prefix in (("bbox", ""), ("segm", "mask_")):
        evaluation = evaluate_boxes(truth, predictions, shape)
        with redirect_stdout(io.StringIO()):
            evaluation.summarize()
        names = METRIC_NAMES[:12] if shape == "bbox" else METRIC_NAMES[:6]
        assert [ours[prefix + name] for name in names] == evaluation.stats[: len(names)].tolist()
        assert 0 < ours[f"{prefix}AP"] < 1


def _filled(x: float, y: float, w: float, h: float) -> np.ndarray:
    picture = np.zeros((64, 64), bool)
    picture[max(int(y), 0) : int(y + h) + 1, max(int(x), 0) : int(x + w) + 1] = True
    return picture
