"""Deformable convolution, v1 (Dai et al., 2017) and modulated v2 (Zhu et al., 2019), by torchvision.

Argument names are mmcv's. The scratch buffers of its kernels (``columns``, ``ones``) and ``im2col_step`` are unused.
``sizes`` are the numbers that mmcv passes by keyword: kernel, stride, padding, dilation and groups.
"""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor

from brs_detr.mm.ops.precision import widened

# Stride, padding and dilation as mmcv names them, (h, w) each, in the order of torchvision's kernels.
_PLAIN = ("dH", "dW", "padH", "padW", "dilationH", "dilationW")
_MODULATED = ("stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w")


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor, **sizes: int
) -> None:
    """Convolve samples taken at shifted positions.

    Args:
        input: ``[B, C, H, W]``.
        weight: ``[C_out, C / group, kH, kW]``.
        offset: ``[B, 2 * deformable_group * kH * kW, H_out, W_out]``, interleaved (y, x) shifts in pixels.
        output: ``[B, C_out, H_out, W_out]``, filled in place.
    """
    output.copy_(_convolve(input, weight, offset, None, None, _geometry(sizes, _PLAIN)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **sizes: int,
) -> None:
    """Fill ``grad_input`` and ``grad_offset``."""
    by_input, _, by_offset, _, _ = _gradients(grad_output, input, weight, offset, None, None, sizes, _PLAIN)
    grad_input.copy_(by_input)
    grad_offset.copy_(by_offset)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **sizes: int,
) -> None:
    """Add ``scale`` times the gradient of the weight to ``grad_weight``."""
    weight = torch.zeros_like(grad_weight)  # the gradient does not depend on its values
    by_weight = _gradients(grad_output, input, weight, offset, None, None, sizes, _PLAIN)[1]
    grad_weight.add_(by_weight, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Convolve samples taken at shifted positions, each multiplied by its own factor.

    Args:
        input: ``[B, C, H, W]``.
        weight: ``[C_out, C / group, kernel_h, kernel_w]``.
        bias: ``[C_out]``; read only ``with_bias``.
        offset: ``[B, 2 * deformable_group * kernel_h * kernel_w, H_out, W_out]``, interleaved (y, x) shifts in pixels.
        mask: ``[B, deformable_group * kernel_h * kernel_w, H_out, W_out]`` factors.
        output: ``[B, C_out, H_out, W_out]``, filled in place.
    """
    geometry = _geometry(sizes, _MODULATED)
    output.copy_(_convolve(input, weight, offset, mask, bias if with_bias else None, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Fill the gradients of everything that `modulated_deform_conv_forward` reads."""
    bias_or_none = bias if with_bias else None
    gradients = _gradients(grad_output, input, weight, offset, mask, bias_or_none, sizes, _MODULATED)
    targets = [grad_input, grad_weight, grad_offset, grad_mask, grad_bias]
    for target, gradient in list(zip(targets, gradients, strict=True))[: 5 if with_bias else 4]:
        target.copy_(gradient)


def _geometry(sizes: dict[str, int], names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(sizes[name] for name in names)


def _convolve(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, geometry: tuple[int, ...]
) -> Tensor:
    output: Tensor = torchvision.ops.deform_conv2d(
        widened(input),
        widened(offset),
        widened(weight),
        None if bias is None else widened(bias),
        stride=geometry[0:2],
        padding=geometry[2:4],
        dilation=geometry[4:6],
        mask=None if mask is None else widened(mask),
    )
    return output


def _gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    sizes: dict[str, int],
    names: tuple[str, ...],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients by input, weight, offset, mask and bias."""
    mask_or_any = input.new_zeros(len(input), 1) if mask is None else mask
    bias_or_any = input.new_zeros(len(weight)) if bias is None else bias
    tensors = map(widened, (grad_output, input, weight, offset, mask_or_any, bias_or_any))
    geometry, groups = _geometry(sizes, names), (sizes["group"], sizes["deformable_group"])
    by_input, by_weight, by_offset, by_mask, by_bias = torch.ops.torchvision._deform_conv2d_backward(
        *tensors, *geometry, *groups, mask is not None
    )
    is_on_rim = _sampling_positions(widened(offset), weight.shape[-2:], geometry) == -1
    return by_input, by_weight, by_offset.masked_fill(is_on_rim, 0), by_mask, by_bias


def _sampling_positions(offset: Tensor, kernel_size: torch.Size, geometry: tuple[int, ...]) -> Tensor:
    """Return the position that each tap samples, (y, x) in pixels, in the shape of ``offset``.

    The derivative by the offset jumps exactly one pixel outside the map, where every untrained layer with padding
    samples. There mmcv takes the outer value, 0, and torchvision the inner one.
    """
    axes = zip(offset.shape[-2:], kernel_size, geometry[0:2], geometry[2:4], geometry[4:6], strict=True)
    rows, columns = (
        offset.new_tensor(range(length)) * stride - pad + offset.new_tensor(range(taps))[:, None] * dilation
        for length, taps, stride, pad, dilation in axes
    )  # [kernel_h, H_out], [kernel_w, W_out]
    y, x = torch.broadcast_tensors(rows[:, None, :, None], columns[None, :, None, :])
    grid = torch.stack([y, x], 2).flatten(0, 2)  # [kernel_h * kernel_w * 2, H_out, W_out]
    return offset + grid.repeat(offset.shape[1] // len(grid), 1, 1)
