from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pycocotools import mask

from brs_detr.data.boxes import clip_boxes, judge_boxes, usable_segmentation, xywh_from_xyxy, xyxy_from_xywh

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


MASK_SIZE = (30, 40)
TRIANGLE = [1, 2, 30, 5.5, 8, 29]


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99, 1])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), MASK_SIZE])
def test_run_lengths_of_pycocotools_are_used(size: tuple[int, int], share: float) -> None:
    for seed in range(20):
        pixels = (np.random.default_rng(seed).random(size) < share).astype(np.uint8)
        encoded = mask.encode(np.asfortranarray(pixels))
        stated = {"size": list(size), "counts": encoded["counts"].decode()}
        assert usable_segmentation(stated, size) is stated


@pytest.mark.parametrize(
    "stated",
    [
        [TRIANGLE],
        [TRIANGLE, [-40, -30, 80, 60, 0, 0]],
        {"size": [30, 40], "counts": [0, 1200]},
        {"size": [30, 40], "counts": [1200]},
    ],
)
def test_what_fits_the_image_is_used_as_it_is(stated: Any) -> None:
    assert usable_segmentation(stated, MASK_SIZE) is stated


def test_of_several_polygons_the_good_ones_are_used() -> None:
    assert usable_segmentation([[1, 2, 3, 4], TRIANGLE, [0, 0, 1e9, 0, 5, 5]], MASK_SIZE) == [TRIANGLE]


@pytest.mark.parametrize(
    "stated",
    [
        None,
        [],
        "x",
        float("nan"),
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [["a"] * 6],
        [[1, 2, float("nan"), 4, 5, 6]],
        [[float("nan"), 2, 3, 4, 5, 6]],
        [[10**400, 2, 3, 4, 5, 6]],
        [[True] * 6],
        {},
        {"size": [30, 40]},
        {"size": [30, 40], "counts": [1199]},
        {"size": [30, 40], "counts": [-1, 1201]},
        {"size": [30, 40], "counts": [600.0, 600.0]},
        {"size": [10**9, 10**9], "counts": [1]},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [30, 40], "counts": ""},
        {"size": [30, 40], "counts": "PPYo1"},
        {"size": [30, 40], "counts": "ooooooooooooooo1"},
        {"size": [30, 40], "counts": "\ud800"},
        {"size": [30, 40], "counts": "~~~"},
        {"size": [30, 40], "counts": "o"},
    ],
)
def test_what_fits_no_image_is_not_used(stated: Any) -> None:
    assert usable_segmentation(stated, MASK_SIZE) is None
