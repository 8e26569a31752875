"""The inputs and expected numbers of mmcv's own unit tests (open-mmlab/mmcv, ``tests/test_ops``, version 2.1).

Only the numbers are theirs. Where their test compares nothing on a CPU, the expected numbers are checked here on every
device.
"""

from __future__ import annotations

import loop_references
import numpy as np
import pytest
import torch
from mmcv.ops import (
    DeformConv2d,
    DeformConv2dPack,
    ModulatedDeformConv2dPack,
    MultiScaleDeformableAttention,
    RoIAlign,
    SigmoidFocalLoss,
    SoftmaxFocalLoss,
    batched_nms,
    bbox_overlaps,
    nms,
    nms_match,
    roi_align,
    sigmoid_focal_loss,
    soft_nms,
    softmax_focal_loss,
)
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from torch import Tensor
from torch.autograd import gradcheck

WIDE = [torch.float32, torch.float64]
ALL = [torch.float16, *WIDE]


def close(found: Tensor, expected: object, rtol: float = 1e-5, atol: float = 1e-8) -> None:
    np.testing.assert_allclose(found.detach().double().cpu().numpy(), np.array(expected), rtol, atol)


# nms

BOXES = [[6.0, 3.0, 8.0, 7.0], [3.0, 6.0, 9.0, 11.0], [3.0, 7.0, 10.0, 12.0], [1.0, 4.0, 13.0, 7.0]]
SCORES = [0.6, 0.9, 0.7, 0.2]
SOFT = {
    "linear": ([1, 0, 2, 3], [0.9, 0.6, 0.29024392, 0.2]),
    "gaussian": ([1, 0, 2, 3], [0.9, 0.59630775, 0.35275510, 0.18650459]),
    "naive": ([1, 0, 3], [0.9, 0.6, 0.2]),
}


def test_nms(device):
    dets, inds = nms(torch.tensor(BOXES, device=device), torch.tensor(SCORES, device=device), 0.3, offset=0)
    assert inds.tolist() == [1, 0, 3]
    close(dets, [[*BOXES[i], SCORES[i]] for i in (1, 0, 3)])


@pytest.mark.parametrize("method", SOFT)
def test_soft_nms(method, device):
    boxes, scores = torch.tensor(BOXES, device=device), torch.tensor(SCORES, device=device)
    dets, inds = soft_nms(boxes, scores, 0.3, sigma=0.5, min_score=0.01, method=method)
    expected_inds, expected_scores = SOFT[method]
    assert inds.tolist() == expected_inds
    close(dets, [[*BOXES[i], score] for i, score in zip(expected_inds, expected_scores, strict=True)])


def test_nms_match():
    array = np.array(
        [
            [49.1, 32.4, 51.0, 35.9, 0.9],
            [49.3, 32.9, 51.0, 35.3, 0.9],
            [35.3, 11.5, 39.9, 14.5, 0.4],
            [35.2, 11.7, 39.7, 15.7, 0.3],
        ],
        dtype=np.float32,
    )
    assert len(nms_match(np.array([]), 0.6)) == 0
    groups = nms_match(array, 0.6)
    assert isinstance(groups[0], np.ndarray)
    assert len(groups) == 2
    tensor = torch.from_numpy(array)
    kept = nms(tensor[:, :4].contiguous(), tensor[:, 4].contiguous(), 0.6)[1]
    assert {int(group[0]) for group in groups} == set(kept.tolist())
    assert [group.tolist() for group in nms_match(tensor, 0.6)] == [group.tolist() for group in groups]
    with pytest.raises(AssertionError):
        nms_match(np.zeros((2, 3)), 0.6)


@pytest.mark.parametrize(
    "config",
    [
        {"type": "nms", "iou_threshold": 0.7, "score_threshold": 0.5, "max_num": 100},
        {"type": "soft_nms", "iou_threshold": 0.7},
    ],
)
def test_batched_nms_at_once_and_by_class(config):
    """Theirs reads a recorded file; here there are 500 random boxes of 8 classes."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(500, 2, generator=generator) * 100
    boxes = torch.cat([corners, corners + 5 + torch.rand(500, 2, generator=generator) * 60], 1)
    scores, classes = torch.rand(500, generator=generator), torch.randint(0, 8, (500,), generator=generator)
    dets, keep = batched_nms(boxes, scores, classes, config)
    dets_by_class, keep_by_class = batched_nms(boxes, scores, classes, config | {"split_thr": 100})
    if config["type"] == "soft_nms":  # the order of lowered scores differs in the last digit
        assert set(keep.tolist()) == set(keep_by_class.tolist())
    else:
        assert torch.equal(keep, keep_by_class)
        assert torch.equal(dets, dets_by_class)
        assert len(keep) == 100


def test_batched_nms_without_nms_sorts():
    boxes = torch.tensor(BOXES)
    dets, keep = batched_nms(boxes, torch.tensor(SCORES), torch.zeros(4), None)
    assert keep.tolist() == [1, 2, 0, 3]
    assert (dets[1:, -1] < dets[:-1, -1]).all()


# bbox_overlaps

PAIR = [[1.0, 1.0, 3.0, 4.0], [2.0, 2.0, 3.0, 4.0]]
OTHERS = [[0.0, 2.0, 2.0, 5.0], [2.0, 1.0, 3.0, 3.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("boxes1", "boxes2", "aligned", "expected"),
    [
        ([*PAIR, [7.0, 7.0, 8.0, 8.0]], OTHERS, False, [[1 / 3, 0.5], [0.2, 0.5], [0, 0]]),
        (PAIR, OTHERS, True, [1 / 3, 0.5]),
        (
            [[0.0, 0.0, 3.0, 3.0]],
            [[4.0, 0.0, 5.0, 3.0], [3.0, 0.0, 4.0, 3.0], [2.0, 0.0, 3.0, 3.0], [1.0, 0.0, 2.0, 3.0]],
            False,
            [[0, 0.2, 0.5, 0.5]],
        ),
    ],
)
def test_bbox_overlaps(boxes1, boxes2, aligned, expected, dtype, device):
    boxes1, boxes2 = (torch.tensor(boxes, dtype=dtype, device=device) for boxes in (boxes1, boxes2))
    close(bbox_overlaps(boxes1, boxes2, aligned=aligned, offset=1), expected, rtol=1e-2)


# roi_align

SMALL = [[3.0625, 0.4375], [0.4375, 0.0625]]
ROI_CASES = {
    "one channel": ([[[1.0, 2.0], [3.0, 4.0]]], [0, 0, 0, 1, 1], [[[1.0, 1.25], [1.5, 1.75]]], [SMALL]),
    "two channels": (
        [[[1.0, 2.0], [3.0, 4.0]], [[4.0, 3.0], [2.0, 1.0]]],
        [0, 0, 0, 1, 1],
        [[[1.0, 1.25], [1.5, 1.75]], [[4.0, 3.75], [3.5, 3.25]]],
        [SMALL, SMALL],
    ),
    "four by four": (
        [[[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0], [9.0, 10.0, 13.0, 14.0], [11.0, 12.0, 15.0, 16.0]]],
        [0, 0, 0, 3, 3],
        [[[1.9375, 4.75], [7.5625, 10.375]]],
        [
            [
                [0.47265625, 0.42968750, 0.42968750, 0.04296875],
                [0.42968750, 0.39062500, 0.39062500, 0.03906250],
                [0.42968750, 0.39062500, 0.39062500, 0.03906250],
                [0.04296875, 0.03906250, 0.03906250, 0.00390625],
            ]
        ],
    ),
}


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("case", ROI_CASES)
def test_roi_align(case, dtype, device):
    image, roi, output, gradient = ROI_CASES[case]
    features = torch.tensor([image], dtype=dtype, device=device, requires_grad=True)
    rois = torch.tensor([roi], dtype=dtype, device=device)
    pooled = roi_align(features, rois, (2, 2), 1.0, 2, "avg", True)
    pooled.backward(torch.ones_like(pooled))
    close(pooled, [output], atol=1e-3)
    close(features.grad, [gradient], atol=1e-3)


@pytest.mark.parametrize("case", ROI_CASES)
def test_roi_align_gradcheck(case, device):
    image, roi, _, _ = ROI_CASES[case]
    features = torch.tensor([image], dtype=torch.float64, device=device, requires_grad=True)
    rois = torch.tensor([roi], dtype=torch.float64, device=device)
    assert gradcheck(RoIAlign((2, 2), 1.0, 2), (features, rois), eps=1e-5, atol=1e-5)


# deform_conv and modulated_deform_conv

DEFORM_INPUT = [[[1.0, 2.0, 3.0], [0.0, 1.0, 2.0], [3.0, 5.0, 2.0]]]
DEFORM_WEIGHT = [0.4, 0.2, 0.1, 0.9]
OFFSET_WEIGHT = [
    [0.1, 0.4, 0.6, 0.1],
    [0.3, 0.2, 0.1, 0.3],
    [0.5, 0.5, 0.2, 0.8],
    [0.8, 0.3, 0.9, 0.1],
    [0.3, 0.1, 0.2, 0.5],
    [0.3, 0.7, 0.5, 0.3],
    [0.6, 0.2, 0.5, 0.3],
    [0.4, 0.1, 0.8, 0.4],
]
OFFSET_BIAS = [0.7, 0.1, 0.8, 0.5, 0.6, 0.5, 0.4, 0.7]
DEFORM_OUTPUT = [[[1.650, 0.0], [0.0, 0.0]]]
DEFORM_GRADIENTS = {
    "input": [[[-0.666, 0.204, 0.000], [0.030, -0.416, 0.012], [0.000, 0.252, 0.129]]],
    "offset_weight": [
        [[[1.44, 2.88], [0.00, 1.44]]],
        [[[-0.72, -1.44], [0.00, -0.72]]],
        [[[0.00, 0.00], [0.00, 0.00]]],
        [[[0.00, 0.00], [0.00, 0.00]]],
        [[[-0.10, -0.20], [0.00, -0.10]]],
        [[[-0.08, -0.16], [0.00, -0.08]]],
        [[[-0.54, -1.08], [0.00, -0.54]]],
        [[[-0.54, -1.08], [0.00, -0.54]]],
    ],
    "offset_bias": [1.44, -0.72, 0.0, 0.0, -0.10, -0.08, -0.54, -0.54],
    "weight": [[[[3.62, 0.0], [0.40, 0.18]]]],
}


@pytest.mark.parametrize(("batch_size", "im2col_step"), [(10, 2), (1, 2)])
@pytest.mark.parametrize("dtype", ALL)
def test_deform_conv(dtype, batch_size, im2col_step, device):
    layer = DeformConv2dPack(1, 1, kernel_size=2, stride=1, padding=0, im2col_step=im2col_step)
    with torch.no_grad():
        layer.conv_offset.weight.copy_(torch.tensor(OFFSET_WEIGHT).reshape(8, 1, 2, 2))
        layer.conv_offset.bias.copy_(torch.tensor(OFFSET_BIAS))
        layer.weight.copy_(torch.tensor(DEFORM_WEIGHT).reshape(1, 1, 2, 2))
    layer.to(device, dtype)
    images = torch.tensor([DEFORM_INPUT] * batch_size, dtype=dtype, device=device, requires_grad=True)
    output = layer(images)
    output.backward(torch.ones_like(output))
    tolerance = {"rtol": 0.1, "atol": 0.05} if dtype == torch.float16 else {"rtol": 1e-3, "atol": 1e-3}
    close(output, [DEFORM_OUTPUT] * batch_size, **tolerance)
    close(images.grad, [DEFORM_GRADIENTS["input"]] * batch_size, **tolerance)
    close(layer.conv_offset.weight.grad / batch_size, DEFORM_GRADIENTS["offset_weight"], **tolerance)
    close(layer.conv_offset.bias.grad / batch_size, DEFORM_GRADIENTS["offset_bias"], **tolerance)
    close(layer.weight.grad / batch_size, DEFORM_GRADIENTS["weight"], **tolerance)


def test_deform_conv_batch_not_divisible_by_the_step(device):
    layer = DeformConv2dPack(1, 1, kernel_size=2, im2col_step=3).to(device)
    with pytest.raises(AssertionError, match="batch size must be divisible by im2col_step"):
        layer(torch.tensor([DEFORM_INPUT] * 10, device=device))


def test_deform_conv_arguments():
    assert not hasattr(DeformConv2d(1, 1, 2, stride=1, padding=0), "bias")
    for arguments in (
        {"args": (1, 1, 2), "bias": True},
        {"args": (3, 2, 3), "groups": 2},
        {"args": (3, 4, 3), "groups": 3},
    ):
        with pytest.raises(AssertionError):
            DeformConv2d(*arguments.pop("args"), **arguments)


MODULATED_OUTPUT = [
    [0.5, 1.5, 2.5, 1.5],
    [1.0, 3.0, 5.0, 3.0],
    [1.0, 3.0, 5.0, 3.0],
    [0.5, 1.5, 2.5, 1.5],
]
MODULATED_OFFSET_WEIGHT = [
    [[-7.0, -4.0], [0.0, 0.0]],
    [[-9.0, 7.5], [-6.0, 5.0]],
    [[-4.0, -7.0], [0.0, 0.0]],
    [[-7.5, -9.0], [-5.0, -6.0]],
    [[-7.0, -4.0], [-7.0, -4.0]],
    [[-6.0, 5.0], [-9.0, 7.5]],
    [[-4.0, -7.0], [-4.0, -7.0]],
    [[-5.0, -6.0], [-7.5, -9.0]],
    [[10.5, 6.0], [7.0, 4.0]],
    [[6.0, 10.5], [4.0, 7.0]],
    [[7.0, 4.0], [10.5, 6.0]],
    [[4.0, 7.0], [6.0, 10.5]],
]
MODULATED_OFFSET_BIAS = [-3.0, -1.5, -3.0, -1.5, -3.0, -1.5, -3.0, -1.5, 4.5, 4.5, 4.5, 4.5]


@pytest.mark.parametrize("dtype", ALL)
def test_modulated_deform_conv(dtype, device):
    image = torch.tensor([[[[1.0, 2.0, 3.0]] * 3]], dtype=dtype, device=device).squeeze(2).requires_grad_()
    layer = ModulatedDeformConv2dPack(1, 1, (2, 2), stride=1, padding=1, deform_groups=1, bias=False).to(device, dtype)
    torch.nn.init.ones_(layer.weight)
    output = layer(image)
    output.sum().backward()
    close(output, [[MODULATED_OUTPUT]], rtol=1e-2)
    close(image.grad, [[[[2.0] * 3] * 3]], rtol=1e-2)
    close(layer.weight.grad, [[[[9.0, 9.0], [9.0, 9.0]]]], rtol=1e-2)
    close(layer.conv_offset.weight.grad[:, 0], MODULATED_OFFSET_WEIGHT, rtol=1e-2)
    close(layer.conv_offset.bias.grad, MODULATED_OFFSET_BIAS, rtol=1e-2)


# focal loss

FOCAL_INPUTS = [
    ([[1.0, 0.0], [0.0, 1.0]], [0, 1]),
    ([[1.0, 0.0, -1.0], [0.0, 1.0, 2.0]], [2, 1]),
    ([[1e-6, 2e-6, 3e-6], [4e-6, 5e-5, 6e-4], [7e-3, 8e-2, 9e-1]], [1, 2, 0]),
]
SOFTMAX_OUTPUTS = [
    (0.00566451, [[-0.00657264, 0.00657264], [0.00657264, -0.00657264]]),
    (0.34956908, [[0.10165970, 0.03739851, -0.13905823], [0.01227554, -0.10298023, 0.09070466]]),
    (
        0.15754992,
        [
            [0.02590877, -0.05181759, 0.02590882],
            [0.02589641, 0.02589760, -0.05179400],
            [-0.07307514, 0.02234372, 0.05073142],
        ],
    ),
]
SIGMOID_OUTPUTS = [
    (0.13562961, [[-0.00657264, 0.11185755], [0.11185755, -0.00657264]]),
    (1.10251057, [[0.28808805, 0.11185755, -0.09602935], [0.11185755, -0.00657264, 0.40376765]]),
    (
        0.42287254,
        [
            [0.07457182, -0.02485716, 0.07457201],
            [0.07457211, 0.07457669, -0.02483728],
            [-0.02462499, 0.08277918, 0.18050370],
        ],
    ),
]
FOCAL_CASES = [
    pytest.param(loss, *inputs, *outputs, id=f"{name}-{index}")
    for name, loss, expected in (
        ("softmax", softmax_focal_loss, SOFTMAX_OUTPUTS),
        ("sigmoid", sigmoid_focal_loss, SIGMOID_OUTPUTS),
    )
    for index, (inputs, outputs) in enumerate(zip(FOCAL_INPUTS, expected, strict=True))
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(("loss", "logits", "targets", "expected", "gradient"), FOCAL_CASES)
def test_focal_loss(loss, logits, targets, expected, gradient, dtype, device):
    x = torch.tensor(logits, device=device).to(dtype).requires_grad_()
    value = loss(x, torch.tensor(targets, device=device), 2.0, 0.25, None, "mean")
    value.backward()
    close(value, expected, rtol=1e-2)
    close(x.grad, gradient, rtol=1e-2)


@pytest.mark.parametrize("module", [SoftmaxFocalLoss, SigmoidFocalLoss])
@pytest.mark.parametrize(("logits", "targets"), FOCAL_INPUTS)
def test_focal_loss_gradcheck(logits, targets, module, device):
    """Theirs is in float32 with a tolerance of 1e-2; this one is in float64 with the default one."""
    x = torch.tensor(logits, dtype=torch.float64, device=device, requires_grad=True)
    assert gradcheck(module(2.0, 0.25), (x, torch.tensor(targets, device=device)))


# ms_deform_attn


def attention_inputs(device: torch.device, num_channels: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(device)

    weights = random(1, 2, 2, 2, 2) + 1e-5
    weights = weights / weights.sum((-1, -2), keepdim=True)
    shapes = torch.tensor([(6, 4), (3, 2)], device=device)
    starts = torch.tensor([0, 24], device=device)
    return random(1, 30, 2, num_channels) * 0.01, shapes, starts, random(1, 2, 2, 2, 2, 2), weights


def test_attention_module(device):
    with pytest.raises(ValueError, match="divisible"):
        MultiScaleDeformableAttention(embed_dims=256, num_heads=7)
    with pytest.warns(UserWarning, match="power of 2"):
        MultiScaleDeformableAttention(embed_dims=9, num_levels=2, num_heads=3)
    layer = MultiScaleDeformableAttention(embed_dims=3, num_levels=2, num_heads=3).to(device)
    layer.init_weights()
    query, key = torch.rand(5, 1, 3, device=device), torch.rand(5, 1, 3, device=device)
    output = layer(
        query,
        key,
        key,
        reference_points=torch.rand(1, 5, 2, 2, device=device),
        spatial_shapes=torch.tensor([[2, 2], [1, 1]], device=device),
        level_start_index=torch.tensor([0, 4], device=device),
    )
    assert output.shape == query.shape
    assert output.isfinite().all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-15), (torch.float32, 1e-6)])
def test_attention_forward(dtype, tolerance, device):
    value, shapes, starts, locations, weights = attention_inputs(device)
    floats = [tensor.to(dtype) for tensor in (value, locations, weights)]
    expected = loop_references.attention(floats[0], [tuple(shape) for shape in shapes.tolist()], *floats[1:])
    found = MultiScaleDeformableAttnFunction.apply(floats[0], shapes, starts, *floats[1:], 2)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("num_channels", [4, 30, 32, 64, 71, 1025])
def test_attention_gradcheck(num_channels, device):
    value, shapes, starts, locations, weights = attention_inputs(device, num_channels)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    fast = num_channels > 32  # theirs takes minutes at 1025
    assert gradcheck(
        lambda *inputs: MultiScaleDeformableAttnFunction.apply(inputs[0], shapes, starts, *inputs[1:], 2),
        inputs,
        fast_mode=fast,
    )
