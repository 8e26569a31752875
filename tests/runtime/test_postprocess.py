from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from brs_detr.runtime.artefact_info import Postprocessing
from brs_detr.runtime.postprocess import best_candidates


def candidates(seed: int, number: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 60, (number, 2))
    boxes = np.concatenate([corner, corner + random.uniform(5, 40, (number, 2))], 1).astype(np.float32)
    scores = random.permutation(number).astype(np.float32) / number  # no ties: their order is nobody's business
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
    """Corners are whole numbers, so that many pairs overlap by 3/10, 3/5, ... exactly; 0.6 is in float32 above 0.6."""
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
