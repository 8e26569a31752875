from __future__ import annotations

import loop_references
import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, soft_nms
from test_nms import clustered_boxes


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_definition(seed, method, offset):
    boxes, scores = clustered_boxes(seed)
    dets, inds = soft_nms(boxes, scores, 0.3, sigma=0.4, min_score=0.05, method=method, offset=offset)
    expected = loop_references.soft_nms(boxes.tolist(), scores.tolist(), 0.3, 0.4, 0.05, method, offset)
    assert inds.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(dets[:, :4], boxes[inds])
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected], dtype=torch.float64))


def test_naive_is_nms():
    boxes, scores = clustered_boxes(2)
    inds = soft_nms(boxes, scores, 0.3, method="naive")[1]
    assert inds.tolist() == loop_references.nms(boxes.tolist(), scores.tolist(), 0.3)


def test_scores_fall_and_never_rise():
    boxes, scores = clustered_boxes(3)
    dets, inds = soft_nms(boxes, scores, method="gaussian", min_score=0.0)
    assert (dets[:-1, 4] >= dets[1:, 4]).all()
    assert (dets[:, 4] <= scores[inds]).all()
    assert len(inds) == len(boxes)


def test_leaves_its_input_alone():
    boxes, scores = clustered_boxes(4)
    before = scores.clone()
    soft_nms(boxes, scores)
    torch.testing.assert_close(scores, before, rtol=0, atol=0)


def test_no_boxes():
    dets, inds = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert inds.shape == (0,)


def test_zero_area_boxes_stay_finite():
    dets, inds = soft_nms(torch.ones(3, 4), torch.tensor([0.9, 0.8, 0.7]), method="gaussian")
    assert inds.tolist() == [0, 1, 2]
    torch.testing.assert_close(dets[:, 4], torch.tensor([0.9, 0.8, 0.7]))


def test_numpy_in_numpy_out():
    boxes, scores = clustered_boxes(5)
    dets, inds = soft_nms(boxes.float().numpy(), scores.float().numpy())
    assert isinstance(dets, np.ndarray)
    assert dets.dtype == np.float32
    assert dets.shape == (len(inds), 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    boxes, scores = clustered_boxes(6, count=10)
    dets, inds = soft_nms(boxes.to(dtype), scores.to(dtype))
    expected = loop_references.soft_nms(
        boxes.to(dtype).tolist(), scores.to(dtype).tolist(), 0.3, 0.5, 1e-3, "linear", 0
    )
    assert dets.dtype == dtype
    assert inds.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(
        dets[:, 4].double(), torch.tensor([s for _, s in expected]).double(), rtol=1e-2, atol=1e-3
    )


def test_in_batched_nms():
    boxes, scores = clustered_boxes(7)
    classes = torch.arange(len(boxes)) % 2
    dets, keep = batched_nms(boxes, scores, classes, {"type": "soft_nms", "iou_threshold": 0.3, "min_score": 0.05})
    for class_index in range(2):
        members = (classes == class_index).nonzero()[:, 0]
        alone, inds = soft_nms(boxes[members], scores[members], 0.3, min_score=0.05)
        is_class = classes[keep] == class_index
        assert keep[is_class].tolist() == members[inds].tolist()
        torch.testing.assert_close(dets[is_class, 4], alone[:, 4])
