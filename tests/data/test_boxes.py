from __future__ import annotations

import math

import numpy as np
import pytest

from brs_detr.data.boxes import clip_boxes, judge_boxes, xywh_from_xyxy, xyxy_from_xywh

SIZE = (30, 40)  # (h, w)


@pytest.mark.parametrize(
    ("box", "verdict"),
    [
        ([0, 0, 40, 30], ""),
        ([-1, -1, 41, 31], ""),
        ([-1.01, 0, 5, 5], "outside"),
        ([0, 0, 5, 31.01], "outside"),
        ([50, 5, 60, 9], "outside"),
        ([0, 0, 40, 41], "outside"),
        ([5, 5, 5, 9], "empty"),
        ([9, 5, 5, 9], "empty"),
        ([90, 5, 90, 9], "empty"),
        ([40, 5, 40.5, 9], "empty"),
        ([0, math.nan, 5, 5], "not_finite"),
        ([0, 0, math.inf, 5], "not_finite"),
    ],
)
def test_each_box_has_one_verdict_at_most(box: list[float], verdict: str) -> None:
    found = judge_boxes([box], SIZE)
    assert [name for name in found._fields if getattr(found, name)[0]] == ([verdict] if verdict else [])


def test_each_box_is_measured_by_its_own_image() -> None:
    found = judge_boxes([[0, 0, 35, 25], [0, 0, 35, 25]], [(30, 40), (40, 30)])
    assert found.outside.tolist() == [False, True]


def test_no_boxes_give_empty_masks() -> None:
    assert [mask.shape for mask in judge_boxes([], np.zeros((0, 2)))] == [(0,)] * 3


def test_clipping_keeps_what_is_inside() -> None:
    clipped = clip_boxes([[-0.5, 2, 40.5, 31], [1, 2, 3, 4]], SIZE)
    assert clipped.tolist() == [[0, 2, 40, 30], [1, 2, 3, 4]]


def test_formats_are_inverse_to_each_other() -> None:
    boxes = np.array([[1.5, 2, 30, 4]])
    assert xyxy_from_xywh(boxes).tolist() == [[1.5, 2, 31.5, 6]]
    assert (xywh_from_xyxy(xyxy_from_xywh(boxes)) == boxes).all()
