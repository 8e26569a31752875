from __future__ import annotations

import loop_references
import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, bbox_overlaps, nms, nms_match, soft_nms

from brs_detr.errors import UserError


def clustered_boxes(
    seed: int, count: int = 40, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make boxes around a few points, so that many overlap, with distinct scores."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 4, (count, 2), generator=generator) * 20 + torch.rand(count, 2, generator=generator) * 8
    sizes = 10 + 10 * torch.rand(count, 2, generator=generator)
    boxes = torch.cat([corners, corners + sizes], 1).to(dtype)
    return boxes, torch.randperm(count, generator=generator).add(1).div(count).to(dtype)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_definition(seed, threshold, offset, device):
    boxes, scores = clustered_boxes(seed)
    dets, inds = nms(boxes.to(device), scores.to(device), threshold, offset)
    assert inds.tolist() == loop_references.nms(boxes.tolist(), scores.tolist(), threshold, offset)
    torch.testing.assert_close(dets.cpu(), torch.cat([boxes, scores[:, None]], 1)[inds.cpu()])


def test_threshold_itself_is_kept():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 2.0, 4.0, 6.0]])  # IoU 1/3
    scores = torch.tensor([0.9, 0.8])
    assert len(nms(boxes.double(), scores, 8 / 24)[1]) == 2
    assert len(nms(boxes.double(), scores, 0.33)[1]) == 1


def test_equal_scores_keep_the_first():
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]]).repeat(3, 1)
    assert nms(box, torch.full((3,), 0.5), 0.5)[1].tolist() == [0]


def test_no_boxes():
    dets, inds = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5)
    assert inds.shape == (0,)


def test_numpy_score_threshold_and_maximum():
    boxes, scores = clustered_boxes(3)
    dets, inds = nms(boxes.numpy(), scores.numpy(), 0.5, score_threshold=0.5, max_num=3)
    expected = [i for i in loop_references.nms(boxes.tolist(), scores.tolist(), 0.5) if scores[i] > 0.5][:3]
    assert isinstance(dets, np.ndarray)
    assert inds.tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype, device):
    boxes, scores = (tensor.to(dtype) for tensor in clustered_boxes(4, count=12, dtype=dtype))
    dets, inds = nms(boxes.to(device), scores.to(device), 0.5)
    assert dets.dtype == dtype
    assert inds.tolist() == loop_references.nms(boxes.tolist(), scores.tolist(), 0.5)


@pytest.mark.parametrize("split", [10_000, 5])
def test_batched_nms_treats_each_class_alone(split):
    boxes, scores = clustered_boxes(5)
    classes = torch.arange(len(boxes)) % 3
    dets, keep = batched_nms(boxes, scores, classes, {"type": "nms", "iou_threshold": 0.4, "split_thr": split})
    expected = []
    for class_index in range(3):
        members = (classes == class_index).nonzero()[:, 0]
        kept = loop_references.nms(boxes[members].tolist(), scores[members].tolist(), 0.4)
        expected += members[kept].tolist()
    assert keep.tolist() == sorted(expected, key=lambda i: -scores[i].item())
    torch.testing.assert_close(dets[:, :4], boxes[keep])


def test_batched_nms_regardless_of_class():
    boxes, scores = clustered_boxes(6)
    keep = batched_nms(boxes, scores, torch.arange(len(boxes)), {"iou_threshold": 0.4}, class_agnostic=True)[1]
    assert keep.tolist() == loop_references.nms(boxes.tolist(), scores.tolist(), 0.4)


@pytest.mark.parametrize("threshold", [0.2, 0.6])
def test_nms_match_groups(threshold):
    boxes, scores = clustered_boxes(7)
    groups = nms_match(torch.cat([boxes, scores[:, None]], 1), threshold)
    expected = loop_references.nms_match(boxes.tolist(), scores.tolist(), threshold)
    assert [group.tolist() for group in groups] == expected
    assert sorted(torch.cat(groups).tolist()) == list(range(len(boxes)))


def test_nms_match_of_nothing():
    assert nms_match(torch.zeros(0, 5), 0.5) == []


def test_rotated_boxes_name_the_op_and_the_cure():
    from mmcv.ops import nms_rotated

    with pytest.raises(UserError, match=r"(?s)'nms_rotated'.*compiled.*pip"):
        nms_rotated(torch.rand(2, 5), torch.rand(2), 0.5)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
@pytest.mark.parametrize("seed", [0, 1])
def test_soft_nms_equals_the_definition(seed, method, offset):
    boxes, scores = clustered_boxes(seed)
    dets, inds = soft_nms(boxes, scores, 0.3, sigma=0.4, min_score=0.05, method=method, offset=offset)
    expected = loop_references.soft_nms(boxes.tolist(), scores.tolist(), 0.3, 0.4, 0.05, method, offset)
    assert inds.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(dets[:, :4], boxes[inds])
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected], dtype=torch.float64))


def test_naive_soft_nms_is_nms():
    boxes, scores = clustered_boxes(2)
    inds = soft_nms(boxes, scores, 0.3, method="naive")[1]
    assert inds.tolist() == loop_references.nms(boxes.tolist(), scores.tolist(), 0.3)


def test_soft_nms_never_raises_a_score():
    boxes, scores = clustered_boxes(3)
    dets, inds = soft_nms(boxes, scores, method="gaussian", min_score=0.0)
    assert (dets[:-1, 4] >= dets[1:, 4]).all()
    assert (dets[:, 4] <= scores[inds]).all()
    assert len(inds) == len(boxes)


def test_soft_nms_leaves_its_input_alone():
    boxes, scores = clustered_boxes(4)
    before = scores.clone()
    soft_nms(boxes, scores)
    torch.testing.assert_close(scores, before, rtol=0, atol=0)


def test_soft_nms_of_no_boxes():
    dets, inds = soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5)
    assert inds.shape == (0,)


def test_soft_nms_of_zero_area_stays_finite():
    dets, inds = soft_nms(torch.ones(3, 4), torch.tensor([0.9, 0.8, 0.7]), method="gaussian")
    assert inds.tolist() == [0, 1, 2]
    torch.testing.assert_close(dets[:, 4], torch.tensor([0.9, 0.8, 0.7]))


def test_soft_nms_of_numpy_is_numpy():
    boxes, scores = clustered_boxes(5)
    dets, inds = soft_nms(boxes.float().numpy(), scores.float().numpy())
    assert isinstance(dets, np.ndarray)
    assert dets.dtype == np.float32
    assert dets.shape == (len(inds), 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_soft_nms_dtypes(dtype):
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


def test_soft_nms_in_batched_nms():
    boxes, scores = clustered_boxes(7)
    classes = torch.arange(len(boxes)) % 2
    dets, keep = batched_nms(boxes, scores, classes, {"type": "soft_nms", "iou_threshold": 0.3, "min_score": 0.05})
    for class_index in range(2):
        members = (classes == class_index).nonzero()[:, 0]
        alone, inds = soft_nms(boxes[members], scores[members], 0.3, min_score=0.05)
        is_class = classes[keep] == class_index
        assert keep[is_class].tolist() == members[inds].tolist()
        torch.testing.assert_close(dets[is_class, 4], alone[:, 4])


@pytest.fixture
def boxes() -> torch.Tensor:
    corners = torch.rand(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 20
    return torch.cat([corners, corners + torch.tensor([[8.0, 12.0]])], 1)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("mode", ["iou", "iof"])
def test_overlaps_equal_the_definition(boxes, mode, offset):
    found = bbox_overlaps(boxes[:4], boxes[4:], mode, offset=offset)
    expected = [[loop_references.iou(a, b, offset, mode) for b in boxes[4:].tolist()] for a in boxes[:4].tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_aligned_is_the_diagonal(boxes):
    others = boxes.flip(0)
    torch.testing.assert_close(bbox_overlaps(boxes, others, aligned=True), bbox_overlaps(boxes, others).diagonal())


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (0, 0)])
def test_no_boxes_overlap(boxes, rows, columns):
    assert bbox_overlaps(boxes[:rows], boxes[:columns]).shape == (rows, columns)


def test_boxes_of_zero_area_overlap_nothing():
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert bbox_overlaps(point, point).item() == 0
    assert bbox_overlaps(point, point, offset=1).item() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_overlaps_keep_the_dtype(boxes, dtype):
    found = bbox_overlaps(boxes.to(dtype), boxes.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), bbox_overlaps(boxes, boxes), rtol=0.1, atol=0.02)
