from __future__ import annotations

import mmcv._ext
import pytest
import torch

from brs_detr.mm.ops import deformable_attention, implementations
from brs_detr.mm.ops.selftest import run_self_tests


def test_every_op_passes(device):
    tests = run_self_tests(device)
    assert [test.op for test in tests] == [implementation.op for implementation in implementations()]
    assert [test.error for test in tests] == [None] * len(tests)
    assert sum(test.seconds for test in tests) < 5


@pytest.fixture
def new_memory_is_nan():
    """Uninitialised memory may hold the right result of the previous test."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("nms", "nms"),
        ("softnms", "soft_nms"),
        ("nms_match", "nms_match"),
        ("bbox_overlaps", "bbox_overlaps"),
        ("roi_align_forward", "roi_align"),
        ("roi_align_backward", "roi_align"),
        ("sigmoid_focal_loss_forward", "sigmoid_focal_loss"),
        ("sigmoid_focal_loss_backward", "sigmoid_focal_loss"),
        ("softmax_focal_loss_forward", "softmax_focal_loss"),
        ("softmax_focal_loss_backward", "softmax_focal_loss"),
        ("deform_conv_forward", "deform_conv2d"),
        ("deform_conv_backward_input", "deform_conv2d"),
        ("modulated_deform_conv_forward", "modulated_deform_conv2d"),
        ("modulated_deform_conv_backward", "modulated_deform_conv2d"),
    ],
)
def test_an_op_that_does_nothing_fails_its_own_check(monkeypatch, new_memory_is_nan, name, op):
    monkeypatch.setattr(mmcv._ext, name, lambda *args, **kwargs: torch.zeros(0, dtype=torch.long))
    assert [test.op for test in run_self_tests("cpu") if test.error] == [op]


def test_wrong_attention_fails_its_own_check(monkeypatch):
    monkeypatch.setattr(deformable_attention, "multi_scale_deformable_attention", lambda value, *rest: value)
    (broken,) = (test for test in run_self_tests("cpu") if test.error)
    assert broken.op == "multi_scale_deformable_attention"
    assert broken.error.startswith("ValueError: x of the sampled points: expected")
