from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope

from brs_detr.exporting.program import resize as resize_in_graph
from brs_detr.mm.platform import prepare as prepare_platform
from brs_detr.runtime.artefact_info import Postprocessing, Preprocessing
from brs_detr.runtime.processing import best_candidates, prepare, resize, resized_size

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def settings(**changes: Any) -> Preprocessing:
    return Preprocessing(
        **{**dict(inside=False, short_side=80, long_side=133, fixed_size=None, mean=MEAN, std=STD), **changes}
    )


def noise_image(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)


def in_training(image: np.ndarray, scale: tuple[int, int]) -> tuple[np.ndarray, dict[str, Any]]:
    """Prepare an image with mmdet's test pipeline and preprocessor."""
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
    image = noise_image(*size)
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
    prepared = prepare([noise_image(20, 40), noise_image(40, 20)], settings(fixed_size=(64, 64)))
    assert prepared.images.shape == (2, 3, 64, 64)
    assert prepared.image_sizes.tolist() == [[32, 64], [64, 32]]
    assert not prepared.images[0, :, 32:].any()
    assert not prepared.images[1, :, :, 32:].any()
    assert prepared.images[1, :, :, :32].all(axis=0).any()


def test_small_batches_are_padded_to_what_a_graph_takes() -> None:
    prepared = prepare([noise_image(20, 40)], settings(short_side=None, long_side=None, smallest_side=33))
    assert prepared.images.shape == (1, 3, 33, 40)
    assert prepared.image_sizes.tolist() == [[20, 40]]


def candidates(seed: int, number: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 60, (number, 2))
    boxes = np.concatenate([corner, corner + random.uniform(5, 40, (number, 2))], 1).astype(np.float32)
    scores = random.permutation(number).astype(np.float32) / number  # no ties, whose order is arbitrary
    scores[random.random(number) < 0.2] = -1
    return boxes, scores, random.integers(0, 3, number)


@given(st.integers(0, 1000), st.sampled_from([0.3, 0.5, 0.7]))
def test_suppression_is_torchvisions(seed: int, threshold: float) -> None:
    boxes, scores, labels = candidates(seed)
    chosen = best_candidates(boxes, scores, labels, Postprocessing(False, 10, threshold))
    there = np.flatnonzero(scores >= 0)
    tensors = (torch.from_numpy(column[there]) for column in (boxes, scores, labels))
    expected = there[torchvision.ops.batched_nms(*tensors, threshold).numpy()][:10]
    assert chosen.tolist() == expected.tolist()


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.7, 0.8])
@pytest.mark.parametrize("seed", range(20))
def test_overlaps_that_are_the_threshold_are_decided_as_in_torchvision(threshold: float, seed: int) -> None:
    """Corners are integers, so that many IoUs are exactly 3/10, 3/5, ...; 0.6 in float32 is above 0.6."""
    random = np.random.default_rng(seed)
    corner = random.integers(0, 12, (80, 2))
    boxes = np.concatenate([corner, corner + random.integers(1, 12, (80, 2))], 1).astype(np.float32)
    scores = random.permutation(80).astype(np.float32) / 80
    chosen = best_candidates(boxes, scores, np.zeros(80, np.int64), Postprocessing(False, 80, threshold))
    expected = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert chosen.tolist() == expected.tolist()


def test_without_suppression_the_best_remain() -> None:
    boxes, scores, labels = candidates(1)
    chosen = best_candidates(boxes, scores, labels, Postprocessing(False, 7))
    assert chosen.tolist() == np.argsort(-scores)[:7].tolist()


def test_nothing_is_found_where_there_is_nothing() -> None:
    boxes, scores, labels = candidates(1)
    for settings in (Postprocessing(False, 7), Postprocessing(False, 7, 0.5)):
        assert len(best_candidates(boxes, np.full_like(scores, -1), labels, settings)) == 0


side = st.integers(1, 150)


@hypothesis_settings(max_examples=150)
@given(side, side, side, side, st.integers(0, 1000))
def test_equal_to_opencv_to_the_last_bit(h: int, w: int, new_h: int, new_w: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    expected = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize(image, (new_h, new_w)), expected)
    in_graph = resize_in_graph(torch.from_numpy(image)[None], new_h, new_w)[0].numpy()
    np.testing.assert_array_equal(in_graph, expected)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_whole_factors(factor: int) -> None:
    """OpenCV has special code for some sizes in other modes, but not in this one."""
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
