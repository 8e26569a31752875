from __future__ import annotations

import loop_references
import pytest
import torch
from mmcv.ops import DeformConv2d, deform_conv2d, modulated_deform_conv2d
from torch import Tensor
from torch.autograd import gradcheck

from brs_detr.mm.ops.deform_conv import modulated_deform_conv_backward, modulated_deform_conv_forward

GEOMETRIES = {  # stride, padding, dilation, groups, deform_groups
    "plain": (1, 0, 1, 1, 1),
    "padded": (2, 1, 1, 1, 1),
    "dilated": (1, 2, 2, 1, 2),
    "grouped": (1, 1, 1, 2, 2),
}
V1, V2 = ("input", "offset", "weight"), ("input", "offset", "mask", "weight", "bias")


def example(geometry: str, batch_size: int = 2) -> dict[str, Tensor]:
    """Make 4-channel images and all other inputs of a modulated 2 x 2 convolution."""
    stride, padding, dilation, groups, deform_groups = GEOMETRIES[geometry]
    height, width = ((size + 2 * padding - dilation - 1) // stride + 1 for size in (6, 5))
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = {
        "input": random(batch_size, 4, 6, 5),
        "offset": 1.5 * random(batch_size, 2 * deform_groups * 4, height, width),
        "mask": random(batch_size, deform_groups * 4, height, width).sigmoid(),
        "weight": random(6, 4 // groups, 2, 2),
        "bias": random(6),
    }
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


def convolve(geometry: str, **tensors: Tensor) -> Tensor:
    op = modulated_deform_conv2d if "mask" in tensors else deform_conv2d
    return op(*tensors.values(), *GEOMETRIES[geometry])


def definition(geometry: str, input: Tensor, offset: Tensor, weight: Tensor, **masks: Tensor) -> Tensor:
    bias = masks.get("bias")
    return torch.stack(
        [
            loop_references.deform_conv(
                input[i], offset[i], weight, *GEOMETRIES[geometry], masks["mask"][i] if "mask" in masks else None, bias
            )
            for i in range(len(input))
        ]
    )


@pytest.mark.parametrize("names", [V1, V2])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_forward_and_backward_equal_the_definition(geometry, names):
    tensors = {name: tensor for name, tensor in example(geometry).items() if name in names}
    tensors = {name: tensors[name] for name in names}  # in the order of the op
    found, expected = convolve(geometry, **tensors), definition(geometry, **tensors)
    torch.testing.assert_close(found, expected)
    cotangent = torch.randn_like(expected)
    inputs = list(tensors.values())
    gradients = torch.autograd.grad(found, inputs, cotangent)
    for name, ours, theirs in zip(names, gradients, torch.autograd.grad(expected, inputs, cotangent), strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, name=name: f"gradient of {name}: {text}")


@pytest.mark.parametrize("names", [V1, V2])
@pytest.mark.parametrize("geometry", ["padded", "grouped"])
def test_gradcheck(geometry, names):
    tensors = example(geometry, batch_size=1)
    values = tuple(tensors[name] for name in names)
    assert gradcheck(lambda *values: convolve(geometry, **dict(zip(names, values, strict=True))), values)


def test_without_shifts_it_is_a_convolution():
    tensors = example("padded")
    tensors["offset"] = torch.zeros_like(tensors["offset"])
    expected = torch.nn.functional.conv2d(tensors["input"], tensors["weight"], stride=2, padding=1)
    torch.testing.assert_close(convolve("padded", **{name: tensors[name] for name in V1}), expected)


def test_offset_gradient_on_the_rim_is_mmcv_s():
    """Exactly at -1 the offset gradient is 0, as further out; just inside it is the slope of the first pixel."""
    image, weight = torch.full((1, 1, 3, 3), 2.0).double(), torch.ones(1, 1, 1, 1).double()
    offset = torch.zeros(1, 2, 3, 3).double().requires_grad_()

    def gradient_at(y: float) -> float:
        shifted = offset + offset.new_tensor([y, 0.0]).reshape(1, 2, 1, 1)
        (gradient,) = torch.autograd.grad(deform_conv2d(image, shifted, weight).sum(), offset)
        return gradient[0, 0, 0, 1].item()

    assert [gradient_at(y) for y in (-1.5, -1.0, -1 + 1e-9, -0.5)] == [0, 0, 2, 2]


def test_modulated_without_bias():
    tensors = example("plain")
    with_bias = modulated_deform_conv2d(*(tensors[name] for name in V2))
    without = modulated_deform_conv2d(*(tensors[name] for name in V2[:-1]), None)
    torch.testing.assert_close(with_bias, without + tensors["bias"][:, None, None])
    without.sum().backward()
    assert tensors["weight"].grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("names", [V1, V2])
def test_dtypes(names, dtype):
    tensors = {name: example("grouped")[name].detach().to(dtype) for name in names}
    tensors["input"].requires_grad_()
    output = convolve("grouped", **tensors)
    output.sum().backward()
    assert output.dtype == tensors["input"].grad.dtype == dtype
    wide = convolve("grouped", **{name: tensor.detach().double() for name, tensor in tensors.items()})
    torch.testing.assert_close(output.double(), wide, rtol=2e-2, atol=5e-2)


def test_no_images():
    """mmcv's layer refuses an empty batch before it reaches the op; the op itself accepts one."""
    tensors = {name: tensor.detach() for name, tensor in example("plain", batch_size=0).items()}
    output = torch.zeros(0, 6, 5, 4, dtype=torch.float64)
    scratch = torch.zeros(0)
    sizes = {"stride_h": 1, "stride_w": 1, "pad_h": 0, "pad_w": 0, "dilation_h": 1, "dilation_w": 1}
    sizes |= {"kernel_h": 2, "kernel_w": 2, "group": 1, "deformable_group": 1, "with_bias": True}
    image, offset, mask, weight, bias = (tensors[name] for name in V2)
    modulated_deform_conv_forward(image, weight, bias, scratch, offset, mask, output, scratch, **sizes)
    gradients = [torch.full_like(tensor, 7) for tensor in (image, weight, bias, offset, mask)]
    modulated_deform_conv_backward(
        image, weight, bias, scratch, offset, mask, scratch, *gradients, grad_output=output, **sizes
    )
    assert all((gradient == 0).all() for gradient in gradients)


def test_module_learns_its_weight():
    layer = DeformConv2d(4, 6, 2).double()
    tensors = example("plain")
    layer(tensors["input"], tensors["offset"]).sum().backward()
    assert layer.weight.grad.abs().sum() > 0
