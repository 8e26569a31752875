"""Multi-scale deformable attention (Zhu et al., 2021, equation 3): deformops on CUDA, else PyTorch's grid_sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from brs_detr.ops.deformops import find_operator
from brs_detr.ops.precision import widened


def multi_scale_deformable_attention(
    value: Tensor, spatial_shapes: Tensor, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Weighted sum of bilinear samples from every level, for each query and head; differentiable.

    Args:
        value: ``[B, S, heads, C]`` features of all levels, flattened and concatenated.
        spatial_shapes: ``[levels, 2]`` integer (h, w); the areas add up to S.
        sampling_locations: ``[B, Q, heads, levels, points, 2]`` (x, y) in units of the level's width and height, where
            (0, 0) and (1, 1) are the outer corners. Samples outside read zeros.
        attention_weights: ``[B, Q, heads, levels, points]``.

    Returns:
        ``[B, Q, heads * C]`` in the dtype of ``value``, computed in float32 or better by grid_sample.
    """
    operator = find_operator()[0] if value.is_cuda and value.dtype != torch.float64 else None
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
    """`attention_by_grid_sample` with the (h, w) of the levels as numbers, as a graph of any image size needs them."""
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
        sampled = grid_sample(feature, grid, align_corners=False)  # [B * heads, C, Q, points]
        output = output + (sampled * weight[:, None]).sum(-1)
    return (
        output.reshape(batch_size, num_heads * num_channels, num_queries).transpose(1, 2).contiguous().to(value.dtype)
    )


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
