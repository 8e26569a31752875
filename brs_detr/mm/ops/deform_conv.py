"""Deformable convolution, v1 (Dai et al., 2017) and modulated v2 (Zhu et al., 2019), by torchvision.

Argument names are mmcv's, which passes them by keyword. Its scratch buffers (``columns``, ``ones``) and
``im2col_step`` serve mmcv's kernels and are not used here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torchvision
from torch import Tensor

from brs_detr.mm.ops.precision import widened


class _Geometry(NamedTuple):
    """The integer arguments of torchvision's kernels, in their order."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int


class _Gradients(NamedTuple):
    input: Tensor
    weight: Tensor
    offset: Tensor
    mask: Tensor
    bias: Tensor


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Convolve samples taken at shifted positions.

    Args:
        input: ``[B, C, H, W]``.
        weight: ``[C_out, C / group, kH, kW]``.
        offset: ``[B, 2 * deformable_group * kH * kW, H_out, W_out]``, interleaved (y, x) shifts in pixels.
        output: ``[B, C_out, H_out, W_out]``, filled in place.
    """
    geometry = _Geometry(dH, dW, padH, padW, dilationH, dilationW)
    output.copy_(_convolve(input, weight, offset, None, None, geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    *,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Fill ``grad_input`` and ``grad_offset``."""
    geometry = _Geometry(dH, dW, padH, padW, dilationH, dilationW)
    gradients = _gradients(grad_output, input, weight, offset, None, None, geometry, group, deformable_group)
    grad_input.copy_(gradients.input)
    grad_offset.copy_(gradients.offset)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Add ``scale`` times the gradient of the weight to ``grad_weight``."""
    geometry = _Geometry(dH, dW, padH, padW, dilationH, dilationW)
    weight = torch.zeros_like(grad_weight)  # its own gradient does not depend on it
    gradients = _gradients(grad_output, input, weight, offset, None, None, geometry, group, deformable_group)
    grad_weight.add_(gradients.weight, alpha=scale)


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
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Convolve samples taken at shifted positions, each times its own factor.

    Args:
        input: ``[B, C, H, W]``.
        weight: ``[C_out, C / group, kernel_h, kernel_w]``.
        bias: ``[C_out]``; read only ``with_bias``.
        offset: ``[B, 2 * deformable_group * kernel_h * kernel_w, H_out, W_out]``, interleaved (y, x) shifts in pixels.
        mask: ``[B, deformable_group * kernel_h * kernel_w, H_out, W_out]`` factors.
        output: ``[B, C_out, H_out, W_out]``, filled in place.
    """
    geometry = _Geometry(stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w)
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
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill the gradients of everything that `modulated_deform_conv_forward` reads."""
    geometry = _Geometry(stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w)
    bias_or_none = bias if with_bias else None
    gradients = _gradients(grad_output, input, weight, offset, mask, bias_or_none, geometry, group, deformable_group)
    grad_input.copy_(gradients.input)
    grad_weight.copy_(gradients.weight)
    grad_offset.copy_(gradients.offset)
    grad_mask.copy_(gradients.mask)
    if with_bias:
        grad_bias.copy_(gradients.bias)


def _convolve(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, geometry: _Geometry
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
    geometry: _Geometry,
    group: int,
    deformable_group: int,
) -> _Gradients:
    tensors = [
        widened(tensor)
        for tensor in (
            grad_output,
            input,
            weight,
            offset,
            input.new_zeros(len(input), 1) if mask is None else mask,
            input.new_zeros(len(weight)) if bias is None else bias,
        )
    ]
    backward = torch.ops.torchvision._deform_conv2d_backward
    gradients = _Gradients(*backward(*tensors, *geometry, group, deformable_group, mask is not None))
    is_on_rim = _sampling_positions(widened(offset), weight.shape[-2:], geometry) == -1
    return gradients._replace(offset=gradients.offset.masked_fill(is_on_rim, 0))


def _sampling_positions(offset: Tensor, kernel_size: torch.Size, geometry: _Geometry) -> Tensor:
    """Where each tap reads, (y, x) in pixels, in the shape of ``offset``.

    Exactly one pixel outside the map, where every untrained layer with padding reads, the derivative by the offset
    jumps. mmcv takes 0 there, the value further out; torchvision the value further in.
    """
    axes = zip(offset.shape[-2:], kernel_size, geometry[0:2], geometry[2:4], geometry[4:6], strict=True)
    rows, columns = (
        offset.new_tensor(range(length)) * stride - pad + offset.new_tensor(range(taps))[:, None] * dilation
        for length, taps, stride, pad, dilation in axes
    )  # [kernel_h, H_out], [kernel_w, W_out]
    y, x = torch.broadcast_tensors(rows[:, None, :, None], columns[None, :, None, :])
    grid = torch.stack([y, x], 2).flatten(0, 2)  # [kernel_h * kernel_w * 2, H_out, W_out]
    return offset + grid.repeat(offset.shape[1] // len(grid), 1, 1)
