from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask

from brs_detr.data.segmentations import usable_segmentation

SIZE = (30, 40)
TRIANGLE = [1, 2, 30, 5.5, 8, 29]


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99, 1])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), SIZE])
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
    assert usable_segmentation(stated, SIZE) is stated


def test_of_several_polygons_the_good_ones_are_used() -> None:
    assert usable_segmentation([[1, 2, 3, 4], TRIANGLE, [0, 0, 1e9, 0, 5, 5]], SIZE) == [TRIANGLE]


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
    assert usable_segmentation(stated, SIZE) is None
