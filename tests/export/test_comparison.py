from __future__ import annotations

import numpy as np
import pytest

from brs_detr.export.comparison import Comparison, Tolerance, compare
from brs_detr.runtime.detections import Detections

TOLERANCE = Tolerance(box=1e-3, score=1e-5)


def detections(seed: int = 0, number: int = 20) -> Detections:
    random = np.random.default_rng(seed)
    scores = np.sort(random.uniform(0.1, 1, number))[::-1].astype(np.float32)
    boxes = random.uniform(0, 500, (number, 4)).astype(np.float32)
    return Detections(boxes, scores, random.integers(0, 3, number), ("a", "b", "c"))


def changed(found: Detections, **columns: np.ndarray) -> Detections:
    return Detections(**{**vars(found), **columns})


def test_the_same_in_another_order() -> None:
    found = detections()
    order = np.random.default_rng(1).permutation(20)
    shuffled = Detections(found.boxes_xyxy[order], found.scores[order], found.labels[order], found.class_names)
    assert compare(found, shuffled, TOLERANCE) == Comparison(20, 20, 0, 0.0, 0.0)


def test_errors_are_measured() -> None:
    found = detections()
    boxes, scores = found.boxes_xyxy.copy(), found.scores.copy()
    boxes[3, 2] += 5e-4
    scores[7] += 5e-6
    measured = compare(found, changed(found, boxes_xyxy=boxes, scores=scores), TOLERANCE)
    assert measured.num_matched == 20
    assert measured.max_box_error == pytest.approx(5e-4, abs=4e-5)  # float32 at 500 px
    assert measured.max_score_error == pytest.approx(5e-6, rel=0.1)


@pytest.mark.parametrize("column", ["boxes_xyxy", "scores", "labels"])
def test_one_that_is_too_far_off_is_missed_on_both_sides(column: str) -> None:
    found = detections()
    values = getattr(found, column).copy()
    values[3] = (values[3] + 1) % 3 if column == "labels" else values[3] + 0.01
    measured = compare(found, changed(found, **{column: values}), TOLERANCE)
    assert (measured.num_matched, measured.num_unmatched) == (19, 2)
    assert measured.max_box_error == measured.max_score_error == 0


def test_nothing_found_where_something_is() -> None:
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("a",))
    assert compare(nothing, nothing, TOLERANCE) == Comparison()
    for sides in ((detections(), nothing), (nothing, detections())):
        assert compare(*sides, TOLERANCE).num_unmatched == 20


def test_sums() -> None:
    assert Comparison(5, 4, 1, 0.1, 0.2) + Comparison(5, 5, 0, 0.3, 0.1) == Comparison(10, 9, 1, 0.3, 0.2)
