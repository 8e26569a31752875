from __future__ import annotations

import loop_references
import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention, multi_scale_deform_attn
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from torch import Tensor
from torch.autograd import gradcheck

from brs_detr.mm.ops import deformable_attention
from brs_detr.mm.ops.deformable_attention import multi_scale_deformable_attention
from brs_detr.mm.ops.precision import is_order_fixed

SHAPES = [(4, 5), (2, 3)]
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def example(num_queries: int = 3, num_channels: int = 4, device: torch.device | str = "cpu") -> Inputs:
    """Make two images, two heads and three points per level, some of them outside the map."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(device)

    num_tokens = sum(height * width for height, width in SHAPES)
    value = random(2, num_tokens, 2, num_channels) - 0.5
    locations = 1.6 * random(2, num_queries, 2, len(SHAPES), 3, 2) - 0.3
    weights = random(2, num_queries, 2, len(SHAPES), 3)
    return (
        value.requires_grad_(),
        torch.tensor(SHAPES, device=device),
        locations.requires_grad_(),
        weights.requires_grad_(),
    )


def through_the_extension(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """As mmcv's own autograd function uses `mmcv._ext`: forward without a graph, backward from the inputs."""
    from mmcv import _ext

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value, locations, weights):
            ctx.save_for_backward(value, locations, weights)
            return _ext.ms_deform_attn_forward(value, shapes, starts, locations, weights, im2col_step=64)

        @staticmethod
        def backward(ctx, grad_output):
            value, locations, weights = ctx.saved_tensors
            gradients = [torch.zeros_like(tensor) for tensor in ctx.saved_tensors]
            _ext.ms_deform_attn_backward(
                value, shapes, starts, locations, weights, grad_output, *gradients, im2col_step=64
            )
            return tuple(gradients)

    starts = shapes.prod(1).cumsum(0) - shapes.prod(1)
    return Function.apply(value, locations, weights)


@pytest.mark.parametrize("op", [multi_scale_deformable_attention, through_the_extension])
def test_forward_and_backward_equal_the_definition(op, device):
    value, shapes, locations, weights = example(device=device)
    found = op(value, shapes, locations, weights)
    expected = loop_references.attention(value, SHAPES, locations, weights)
    torch.testing.assert_close(found, expected)
    cotangent, inputs = torch.randn_like(expected), (value, locations, weights)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, cotangent), torch.autograd.grad(expected, inputs, cotangent)
    )


def test_gradcheck(device):
    value, shapes, locations, weights = example(device=device)
    op = lambda value, locations, weights: multi_scale_deformable_attention(value, shapes, locations, weights)  # noqa: E731
    assert gradcheck(op, (value, locations, weights))


def test_mmcv_uses_it_on_the_cpu_too():
    assert multi_scale_deform_attn.multi_scale_deformable_attn_pytorch is multi_scale_deformable_attention


def test_mmcv_calls_the_differentiable_operator():
    value, shapes, locations, weights = example()
    starts = torch.tensor([0, 20])
    output = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    torch.testing.assert_close(output, multi_scale_deformable_attention(value, shapes, locations, weights))
    assert "MultiScaleDeformableAttnFunction" not in type(output.grad_fn).__name__


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_value_may_be_narrower_than_the_locations(dtype):
    value, shapes, locations, weights = example()
    narrow = value.detach().to(dtype).requires_grad_()
    output = multi_scale_deformable_attention(narrow, shapes, locations.float(), weights.float())
    output.sum().backward()
    assert output.dtype == narrow.grad.dtype == dtype
    expected = multi_scale_deformable_attention(narrow.double(), shapes, locations, weights)
    torch.testing.assert_close(output.double(), expected, rtol=2e-2, atol=2e-3)


def test_no_queries():
    value, shapes, locations, weights = example(num_queries=0)
    output = multi_scale_deformable_attention(value, shapes, locations, weights)
    output.sum().backward()
    assert output.shape == (2, 0, 8)
    assert (value.grad == 0).all()


def test_only_cuda_tensors_go_to_deformops(monkeypatch):
    """On the CPU its eager mode is several times slower than grid_sample."""

    def refuse(*args: object) -> Tensor:
        raise AssertionError("called for a CPU tensor")

    monkeypatch.setattr(deformable_attention, "find_operator", lambda: (refuse, "forced"))
    multi_scale_deformable_attention(*example())


def test_cuda_tensors_go_to_deformops_when_it_is_there(monkeypatch):
    calls = []

    class CudaTensor(Tensor):
        is_cuda = True

    def operator(*tensors: Tensor) -> str:
        calls.append(tensors)
        return "attended"

    monkeypatch.setattr(deformable_attention, "find_operator", lambda: (operator, "forced"))
    value, shapes, locations, weights = (tensor.detach() for tensor in example())
    half = value.bfloat16().as_subclass(CudaTensor)
    assert multi_scale_deformable_attention(half, shapes, locations, weights) == "attended"
    _, _, starts, _, weights_given = calls[0]
    assert starts.tolist() == [0, 20]
    assert weights_given.dtype == torch.bfloat16
    double = value.as_subclass(CudaTensor)  # Triton has no float64
    assert multi_scale_deformable_attention(double, shapes, locations, weights).shape == (2, 3, 8)


def test_reason_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert deformable_attention.find_operator.__wrapped__() == (None, "no CUDA device")


def test_reason_without_deformops(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setitem(__import__("sys").modules, "deformops.registry", None)
    operator, reason = deformable_attention.find_operator.__wrapped__()
    assert operator is None
    assert "not installed" in reason


def test_module_runs_on_this_device(device):
    attention = MultiScaleDeformableAttention(8, num_heads=2, num_levels=2, num_points=3, batch_first=True).to(device)
    torch.nn.init.normal_(attention.sampling_offsets.weight)
    query = torch.randn(1, 5, 8, device=device, requires_grad=True)
    shapes = torch.tensor(SHAPES, device=device)
    output = attention(
        query,
        value=torch.randn(1, 26, 8, device=device),
        reference_points=torch.rand(1, 5, 2, 2, device=device),
        spatial_shapes=shapes,
        level_start_index=torch.tensor([0, 20], device=device),
    )
    output.sum().backward()
    assert attention.sampling_offsets.weight.grad.abs().sum() > 0


def test_sums_in_a_fixed_order_are_the_same(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    """Pixels are read by index, as in deterministic mode on a GPU; samples outside read zeros."""

    def gradients() -> tuple[Tensor, ...]:
        value, shapes, locations, weights = example(num_queries=50, device=device)
        output = multi_scale_deformable_attention(value, shapes, locations, weights)
        return output, *torch.autograd.grad(output.square().sum(), (value, locations, weights))

    expected = gradients()
    monkeypatch.setattr(deformable_attention, "is_order_fixed", lambda tensor: True)
    for found, truth in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-12)


def test_the_order_is_fixed_where_pytorch_is_asked_for_it(device: torch.device) -> None:
    assert not is_order_fixed(torch.zeros(1, device=device))
    torch.use_deterministic_algorithms(True)
    try:
        assert is_order_fixed(torch.zeros(1, device=device)) == (device.type == "cuda")
    finally:
        torch.use_deterministic_algorithms(False)
