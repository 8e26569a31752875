from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brs_detr.export.preparation import resize as resize_in_graph
from brs_detr.runtime.resize import resize

side = st.integers(1, 150)


@settings(max_examples=150)
@given(side, side, side, side, st.integers(0, 1000))
def test_equal_to_opencv_to_the_last_bit(h: int, w: int, new_h: int, new_w: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    expected = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize(image, (new_h, new_w)), expected)
    in_graph = resize_in_graph(torch.from_numpy(image)[None], new_h, new_w)[0].numpy()
    np.testing.assert_array_equal(in_graph, expected)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_whole_factors(factor: int) -> None:
    """OpenCV has special code for some of them in other modes; not in this one."""
    image = np.random.default_rng(factor).integers(0, 256, (24 * factor, 36 * factor, 3), np.uint8)
    for size in ((24, 36), (24 * factor**2, 36 * factor**2), (24, 36 * factor)):
        expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(resize(image, size), expected)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels_however_they_lie_in_memory(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 70, channels), np.uint8)[::-1, ::2, ::-1]
    expected = cv2.resize(np.ascontiguousarray(image), (51, 77), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize(image, (77, 51)), expected.reshape(77, 51, channels))


def test_same_size_is_the_same_image() -> None:
    image = np.zeros((5, 7, 3), np.uint8)
    assert resize(image, (5, 7)) is image
