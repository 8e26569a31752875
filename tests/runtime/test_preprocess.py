from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope

from brs_detr.mm.platform import prepare as prepare_platform
from brs_detr.runtime.artefact_info import Preprocessing
from brs_detr.runtime.preprocess import prepare, resized_size

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def settings(**changes: Any) -> Preprocessing:
    return Preprocessing(
        **{**dict(inside=False, short_side=80, long_side=133, fixed_size=None, mean=MEAN, std=STD), **changes}
    )


def picture(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)


def in_training(image: np.ndarray, scale: tuple[int, int]) -> tuple[np.ndarray, dict[str, Any]]:
    """What mmdet's test pipeline and preprocessor make of it."""
    prepare_platform()
    from mmdet.models import DetDataPreprocessor

    init_default_scope("mmdet")
    pipeline = Compose([dict(type="Resize", scale=scale, keep_ratio=True), dict(type="PackDetInputs")])
    size = image.shape[:2]
    start = dict(img=image[..., ::-1].copy(), img_path=None, img_id=0, img_shape=size, ori_shape=size)
    packed = pipeline(start)
    batch = DetDataPreprocessor(mean=MEAN, std=STD, bgr_to_rgb=True)(
        {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
    )
    return batch["inputs"].numpy(), packed["data_samples"].metainfo


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (200, 333), (333, 200), (80, 133), (7, 200), (31, 31)])
def test_equal_to_the_training_pipeline(size: tuple[int, int]) -> None:
    image = picture(*size)
    expected, meta = in_training(image, (133, 80))
    prepared = prepare([image], settings())
    np.testing.assert_array_equal(prepared.images, expected)
    assert tuple(prepared.image_sizes[0]) == tuple(meta["img_shape"])
    np.testing.assert_array_equal(prepared.scales[0], np.tile(np.float32(meta["scale_factor"]), 2))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_sides_stay_within_their_bounds(h: int, w: int) -> None:
    new = resized_size((h, w), settings(short_side=800, long_side=1333))
    assert 1 <= min(new) <= 800
    assert max(new) <= 1333
    assert resized_size((h, w), settings(short_side=None, long_side=None)) == (h, w)
    framed = resized_size((h, w), settings(fixed_size=(300, 400)))
    assert framed[0] <= 300
    assert framed[1] <= 400
    assert framed[0] == 300 or framed[1] == 400


def test_padding_is_zero_at_the_right_and_below() -> None:
    prepared = prepare([picture(20, 40), picture(40, 20)], settings(fixed_size=(64, 64)))
    assert prepared.images.shape == (2, 3, 64, 64)
    assert prepared.image_sizes.tolist() == [[32, 64], [64, 32]]
    assert not prepared.images[0, :, 32:].any()
    assert not prepared.images[1, :, :, 32:].any()
    assert prepared.images[1, :, :, :32].all(axis=0).any()


def test_small_batches_are_padded_to_what_a_graph_takes() -> None:
    prepared = prepare([picture(20, 40)], settings(short_side=None, long_side=None, smallest_side=33))
    assert prepared.images.shape == (1, 3, 33, 40)
    assert prepared.image_sizes.tolist() == [[20, 40]]
