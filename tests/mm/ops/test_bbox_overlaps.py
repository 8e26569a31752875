from __future__ import annotations

import loop_references
import pytest
import torch
from mmcv.ops import bbox_overlaps


@pytest.fixture
def boxes() -> torch.Tensor:
    corners = torch.rand(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 20
    return torch.cat([corners, corners + torch.tensor([[8.0, 12.0]])], 1)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("mode", ["iou", "iof"])
def test_equals_the_definition(boxes, mode, offset):
    found = bbox_overlaps(boxes[:4], boxes[4:], mode, offset=offset)
    expected = [[loop_references.iou(a, b, offset, mode) for b in boxes[4:].tolist()] for a in boxes[:4].tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_aligned_is_the_diagonal(boxes):
    others = boxes.flip(0)
    torch.testing.assert_close(bbox_overlaps(boxes, others, aligned=True), bbox_overlaps(boxes, others).diagonal())


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (0, 0)])
def test_no_boxes(boxes, rows, columns):
    assert bbox_overlaps(boxes[:rows], boxes[:columns]).shape == (rows, columns)


def test_boxes_of_zero_area_overlap_nothing():
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert bbox_overlaps(point, point).item() == 0
    assert bbox_overlaps(point, point, offset=1).item() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_keeps_the_dtype(boxes, dtype):
    found = bbox_overlaps(boxes.to(dtype), boxes.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), bbox_overlaps(boxes, boxes), rtol=0.1, atol=0.02)
