from __future__ import annotations

import loop_references
import pytest
import torch
from mmcv.ops import RoIAlign, roi_align
from torch.autograd import gradcheck


def example(device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Make two 3-channel maps, and RoIs inside, across the border, outside, of zero area and larger than the map."""
    features = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rois = [
        [0, 2.0, 3.0, 11.0, 13.5],
        [1, 0.3, 0.7, 5.1, 2.2],
        [1, -6.0, -4.0, 5.0, 7.0],
        [0, 40.0, 40.0, 50.0, 44.0],
        [0, 5.0, 5.0, 5.0, 5.0],
        [1, -10.0, -10.0, 30.0, 40.0],
    ]
    return features.to(device).requires_grad_(), torch.tensor(rois, dtype=torch.float64, device=device)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_forward_and_backward_equal_the_definition(scale, aligned, sampling_ratio, mode, device):
    features, rois = example(device)
    found = roi_align(features, rois, 3, scale, sampling_ratio, mode, aligned)
    expected = loop_references.roi_align(features, rois, 3, scale, sampling_ratio, mode, aligned)
    cotangent = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(device)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, features, cotangent), torch.autograd.grad(expected, features, cotangent)
    )


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [True, False])
def test_gradcheck(aligned, mode):
    features, rois = example()
    one_channel = features.detach()[:, :1].requires_grad_()
    assert gradcheck(RoIAlign(2, 0.5, 2, mode, aligned), (one_channel, rois[1:3]))


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_no_rois(mode, device):
    features, rois = example(device)
    pooled = roi_align(features, rois[:0], 3, 0.5, 0, mode, True)
    assert pooled.shape == (0, 3, 3, 3)
    pooled.sum().backward()
    assert (features.grad == 0).all()


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype, mode, device):
    features, rois = example(device)
    narrow = features.detach().to(dtype).requires_grad_()
    pooled = roi_align(narrow, rois.to(dtype), 3, 0.5, 2, mode, True)
    pooled.sum().backward()
    assert pooled.dtype == narrow.grad.dtype == dtype
    expected = roi_align(narrow.double(), rois.to(dtype).double(), 3, 0.5, 2, mode, True)
    torch.testing.assert_close(pooled.double(), expected, rtol=1e-2, atol=1e-2)


def test_output_may_be_rectangular():
    features, rois = example()
    assert roi_align(features, rois, (2, 5), 0.5).shape == (len(rois), 3, 2, 5)
    assert roi_align(features, rois, (2, 5), 0.5, 0, "max").shape == (len(rois), 3, 2, 5)


def test_gradient_in_a_fixed_order_is_the_same(monkeypatch, device):
    features, rois = example(device)
    pooled = roi_align(features, rois, 3, 0.5, 0, "avg", True)
    (expected,) = torch.autograd.grad(pooled.square().sum(), features, retain_graph=True)
    monkeypatch.setattr("brs_detr.mm.ops.roi_align.is_order_fixed", lambda tensor: True)
    (found,) = torch.autograd.grad(pooled.square().sum(), features)
    torch.testing.assert_close(found, expected)
