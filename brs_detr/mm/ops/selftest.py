"""Quick checks of every operator through `mmcv.ops`, whatever implements it. `brs-detr doctor` runs them.

Each check has a known result: a linear ramp is its own average, a deformable convolution with zero offsets is a
convolution, the focal loss at logit 0 is a multiple of ln 2.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from brs_detr.mm.ops.extension import is_compiled


class SelfTest(NamedTuple):
    """Result of one check; ``error`` is None if it passed."""

    op: str
    device: str
    seconds: float
    error: str | None


def run_self_tests(device: torch.device | str = "cpu") -> list[SelfTest]:
    """Check every operator, forward and backward, in float32 on one device. Call `mm.platform.prepare` first."""
    device = torch.device(device)
    return [_run(op, check, device) for op, check in _CHECKS.items() if _exists_on(op, device)]


def _run(op: str, check: Callable[[torch.device], None], device: torch.device) -> SelfTest:
    start = time.perf_counter()
    try:
        check(device)
        error = None
    except Exception as exception:  # a broken installation may raise anything
        error = f"{type(exception).__name__}: {exception}".splitlines()[0]
    return SelfTest(op, device.type, time.perf_counter() - start, error)


def _exists_on(op: str, device: torch.device) -> bool:
    return device.type != "cpu" or op not in _COMPILED_FOR_GPU_ONLY or not is_compiled()


def _check_nms(device: torch.device) -> None:
    from mmcv.ops import nms

    boxes, scores = _three_boxes(device)
    _expect("kept boxes", nms(boxes, scores, 0.5)[1], [1, 2])
    _expect("kept boxes of no box", nms(boxes[:0], scores[:0], 0.5)[1], [])


def _check_soft_nms(device: torch.device) -> None:
    from mmcv.ops import soft_nms

    boxes, scores = _three_boxes(device)
    dets, inds = soft_nms(boxes, scores, 0.5, method="linear")
    _expect("order", inds, [1, 2, 0])
    _expect("scores", dets[:, 4], [0.9, 0.7, 0.8 * (1 - 9 / 11)])


def _check_nms_match(device: torch.device) -> None:
    from mmcv.ops import nms_match

    boxes, scores = _three_boxes(device)
    groups = nms_match(torch.cat([boxes, scores[:, None]], 1), 0.5)
    _expect("groups", torch.cat(groups), [1, 0, 2])


def _check_bbox_overlaps(device: torch.device) -> None:
    from mmcv.ops import bbox_overlaps

    boxes, _ = _three_boxes(device)
    _expect("IoU", bbox_overlaps(boxes[:1], boxes), [[1, 9 / 11, 0]])


def _check_roi_align(device: torch.device) -> None:
    from mmcv.ops import roi_align

    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    feature = (x + 10 * y)[None, None].to(device).requires_grad_()
    rois = torch.tensor([[0, 2.0, 2.0, 6.0, 6.0]], device=device)
    pooled = roi_align(feature, rois, 2, 1.0, 0, "avg", True)
    _expect("average of a ramp", pooled[0, 0], [[27.5, 29.5], [47.5, 49.5]])
    _expect("sum of the gradient", _gradient(pooled, feature).sum(), 4)


def _check_sigmoid_focal_loss(device: torch.device) -> None:
    from mmcv.ops import sigmoid_focal_loss

    logits = torch.zeros(1, 2, device=device, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([0], device=device), 2.0, 0.25, None, "none")
    _expect("loss at logit 0", loss, [[0.25 * math.log(2) / 4, 0.75 * math.log(2) / 4]])
    slope = (1 + 2 * math.log(2)) / 8
    _expect("gradient at logit 0", _gradient(loss, logits), [[-0.25 * slope, 0.75 * slope]])


def _check_softmax_focal_loss(device: torch.device) -> None:
    from mmcv.ops import softmax_focal_loss

    logits = torch.zeros(1, 2, device=device, requires_grad=True)
    loss = softmax_focal_loss(logits, torch.tensor([0], device=device), 2.0, 0.25, None, "none")
    _expect("loss at logit 0", loss, [0.25 * math.log(2) / 4])
    slope = 0.25 * (1 + 2 * math.log(2)) / 8
    _expect("gradient at logit 0", _gradient(loss, logits), [[-slope, slope]])


def _check_deform_conv(device: torch.device) -> None:
    from mmcv.ops import deform_conv2d

    image, weight, offset = _convolution(device)
    expected = torch.nn.functional.conv2d(image, weight, padding=1)
    output = deform_conv2d(image, offset, weight, 1, 1)
    _expect("convolution without shifts", output, expected)
    _expect("its gradient", _gradient(output, image), _gradient(expected, image))


def _check_modulated_deform_conv(device: torch.device) -> None:
    from mmcv.ops import modulated_deform_conv2d

    image, weight, offset = _convolution(device)
    mask = torch.full_like(offset[:, :9], 0.5)
    expected = torch.nn.functional.conv2d(image, weight, padding=1) / 2
    output = modulated_deform_conv2d(image, offset, mask, weight, None, 1, 1, 1, 1, 1)
    _expect("convolution with all factors 1/2", output, expected)
    _expect("its gradient", _gradient(output, image), _gradient(expected, image))


def _check_attention(device: torch.device) -> None:
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    shapes = torch.tensor([[4, 4], [2, 2]], device=device)
    columns = [(torch.arange(size) + 0.5).div(size).repeat(size) for size in (4, 2)]  # x of every pixel
    value = torch.cat(columns)[None, :, None, None].repeat(1, 1, 2, 8).to(device).requires_grad_()
    locations = torch.full((1, 1, 2, 2, 4, 2), 0.4, device=device, requires_grad=True)
    weights = torch.full((1, 1, 2, 2, 4), 1 / 8, device=device)
    starts = torch.tensor([0, 16], device=device)
    output = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    _expect("x of the sampled points", output, torch.full((1, 1, 16), 0.4))
    _expect("sum of the gradient", _gradient(output, value).sum(), 16)


_CHECKS: dict[str, Callable[[torch.device], None]] = {
    "nms": _check_nms,
    "soft_nms": _check_soft_nms,
    "nms_match": _check_nms_match,
    "bbox_overlaps": _check_bbox_overlaps,
    "roi_align": _check_roi_align,
    "sigmoid_focal_loss": _check_sigmoid_focal_loss,
    "softmax_focal_loss": _check_softmax_focal_loss,
    "deform_conv2d": _check_deform_conv,
    "modulated_deform_conv2d": _check_modulated_deform_conv,
    "multi_scale_deformable_attention": _check_attention,
}

# mmdet and mmcv run these in PyTorch on the CPU.
_COMPILED_FOR_GPU_ONLY = {"sigmoid_focal_loss", "softmax_focal_loss", "multi_scale_deformable_attention"}


def _three_boxes(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return two boxes with an IoU of 9/11, one apart, and their scores."""
    boxes = [[0.0, 0.0, 10.0, 10.0], [0.0, 1.0, 10.0, 11.0], [50.0, 50.0, 60.0, 60.0]]
    return torch.tensor(boxes, device=device), torch.tensor([0.8, 0.9, 0.7], device=device)


def _convolution(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return a ``[1, 2, 5, 5]`` image, the weight of a 3 x 3 convolution, and zero offsets."""
    image = torch.arange(50.0).sin().reshape(1, 2, 5, 5).to(device).requires_grad_()
    weight = torch.arange(54.0).cos().reshape(3, 2, 3, 3).to(device)
    return image, weight, torch.zeros(1, 18, 5, 5, device=device)


def _gradient(output: Tensor, variable: Tensor) -> Tensor:
    return torch.autograd.grad(output.sum(), variable)[0]


def _expect(what: str, actual: Tensor, expected: Tensor | Sequence[object] | float) -> None:
    wanted = torch.as_tensor(expected, dtype=torch.float64).detach().cpu()
    found = actual.detach().cpu().double()
    if found.shape != wanted.shape or not torch.allclose(found, wanted, rtol=2e-3, atol=2e-3):
        raise ValueError(f"{what}: expected {wanted.tolist()}, got {found.tolist()}")
