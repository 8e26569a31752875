"""Multi-scale deformable attention (Zhu et al., 2021, equation 3): deformops on CUDA, else PyTorch's grid_sample.

Deterministic mode on a GPU needs a fixed order of sums, which neither has; pixels are then read by index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from brs_detr.mm.ops.precision import is_order_fixed, widened

Operator = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@cache
def find_operator() -> tuple[Operator | None, str]:
    """Return deformops' attention operator, or None if its Triton kernels cannot run here, and the reason.

    Its ``integrations.mmcv`` is not used: it would replace mmcv's extension loader for the whole process.
    """
    if not torch.cuda.is_available():
        return None, "no CUDA device"
    if torch.cuda.get_device_capability() < (7, 0):
        return None, "the GPU is older than compute capability 7.0, which Triton needs"
    try:
        from deformops.registry import Backend, msda
    except ImportError:
        return None, "deformops is not installed (extra [cuda], Python 3.12 or 3.13)"
    if not msda.is_registered(Backend.TRITON):
        return None, f"deformops has no Triton kernel here: {msda.unavailable_reason(Backend.TRITON)}"
    return msda, "CUDA device and deformops found"


def multi_scale_deformable_attention(
    value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Return the weighted sum of bilinear samples from every level, for each query and head; differentiable.

    Args:
        value: ``[B, S, heads, C]`` features of all levels, flattened and concatenated.
        spatial_shapes: ``[levels, 2]`` integer (h, w); the areas add up to S.
        sampling_locations: ``[B, Q, heads, levels, points, 2]`` (x, y) in units of the level's width and height, where
            (0, 0) and (1, 1) are the outer corners. Samples outside read zeros.
        attention_weights: ``[B, Q, heads, levels, points]``.

    Returns:
        ``[B, Q, heads * C]`` in the dtype of ``value``, computed in float32 or better by grid_sample.
    """
    is_fast = value.is_cuda and value.dtype != torch.float64 and not is_order_fixed(value)
    operator = find_operator()[0] if is_fast else None
    if operator is None:
        return attention_by_grid_sample(value, spatial_shapes, sampling_locations, attention_weights)
    areas = spatial_shapes.prod(1)
    starts = areas.cumsum(0) - areas
    return operator(value, spatial_shapes, starts, sampling_locations, attention_weights.to(value.dtype))


def attention_by_grid_sample(
    value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """`multi_scale_deformable_attention` in plain PyTorch, on any device and floating dtype."""
    sizes = [(int(height), int(width)) for height, width in spatial_shapes.tolist()]
    return attention_over_levels(value, sizes, sampling_locations, attention_weights)


def attention_over_levels(
    value: Tensor, sizes: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """`attention_by_grid_sample` with the levels' (h, w) as numbers, as needed in graphs of dynamic image size."""
    sample = _sample_in_order if is_order_fixed(value) else partial(grid_sample, align_corners=False)
    values = widened(value)
    grids = 2 * sampling_locations.to(values.dtype) - 1
    weights = attention_weights.to(values.dtype)
    batch_size, _, num_heads, num_channels = values.shape
    num_queries = grids.shape[1]
    output = values.new_zeros(batch_size * num_heads, num_channels, num_queries)
    for level, level_values in enumerate(torch.split(values, [height * width for height, width in sizes], 1)):
        feature = level_values.permute(0, 2, 3, 1).reshape(batch_size * num_heads, num_channels, *sizes[level])
        grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)  # [B * heads, Q, points, 2]
        weight = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)  # [B * heads, Q, points]
        sampled = sample(feature, grid)  # [B * heads, C, Q, points]
        output = output + (sampled * weight[:, None]).sum(-1)
    return (
        output.reshape(batch_size, num_heads * num_channels, num_queries).transpose(1, 2).contiguous().to(value.dtype)
    )


def _sample_in_order(feature: Tensor, grid: Tensor) -> Tensor:
    """`grid_sample` with a gradient summed in a fixed order: the four pixels around each point are read by index.

    Args:
        feature: ``[B, C, h, w]``.
        grid: ``[B, Q, points, 2]`` (x, y), -1 and 1 at the outer corners.

    Returns:
        ``[B, C, Q, points]``; pixels outside are 0.
    """
    height, width = feature.shape[-2:]
    pixels = feature.flatten(2).transpose(1, 2).flatten(0, 1)  # [B * h * w, C]
    first = torch.arange(len(feature), device=grid.device)[:, None, None] * (height * width)
    x, y = ((grid[..., axis] + 1) * size / 2 - 0.5 for axis, size in enumerate((width, height)))
    left, top = x.floor(), y.floor()
    sampled = pixels.new_zeros(())
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for column, column_weight in ((left, left + 1 - x), (left + 1, x - left)):
            is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            sampled = sampled + pixels[first + index] * (row_weight * column_weight * is_inside)[..., None]
    return sampled.permute(0, 3, 1, 2)


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """mmcv's op: `multi_scale_deformable_attention`; the level starts follow from the shapes."""
    return multi_scale_deformable_attention(value, value_spatial_shapes, sampling_locations, attention_weights)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """mmcv's op: fill the three gradients. Runs the forward pass again, since nothing was kept from it."""
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in (value, sampling_locations, attention_weights)]
        output = multi_scale_deformable_attention(inputs[0], value_spatial_shapes, inputs[1], inputs[2])
    gradients = torch.autograd.grad(output, inputs, grad_output)
    for target, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), gradients, strict=True):
        target.copy_(gradient)
