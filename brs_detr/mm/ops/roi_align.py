"""RoIAlign (He et al., 2017): average pooling by torchvision, max pooling in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torchvision
from torch import Tensor

from brs_detr.mm.ops.precision import is_order_fixed, widened

MAX, AVERAGE = 0, 1
OUTSIDE = -2.0  # a coordinate that reads 0, as all beyond -1 do


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool a grid of bilinear samples in every bin of every RoI.

    Args:
        input: ``[B, C, H, W]`` feature map.
        rois: ``[R, 5]`` image index, x1, y1, x2, y2 in image pixels.
        output: ``[R, C, aligned_height, aligned_width]``, filled in place.
        argmax_y: like ``output``, filled with the row of the largest sample (`MAX` only; empty otherwise).
        argmax_x: like ``output``, filled with its column.
        aligned_height: bins along y.
        aligned_width: bins along x.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: samples per bin along each axis; 0 = about one per feature pixel.
        pool_mode: `MAX` or `AVERAGE`.
        aligned: shift by half a pixel, and allow RoIs smaller than one feature pixel.
    """
    bins = (aligned_height, aligned_width)
    features, boxes = widened(input), rois.to(widened(input).dtype)
    if pool_mode == AVERAGE:
        output.copy_(torchvision.ops.roi_align(features, boxes, bins, spatial_scale, sampling_ratio, aligned))
        return
    for i, roi in enumerate(boxes):
        rows, columns = _sample_positions(roi, bins, spatial_scale, sampling_ratio, aligned)
        pooled = _max_of_samples(features[int(roi[0])], rows, columns)
        output[i], argmax_y[i], argmax_x[i] = pooled


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``grad_input``, ``[B, C, H, W]``; the other arguments are those of `roi_align_forward`."""
    grad = widened(grad_output)
    if pool_mode == AVERAGE:
        bins = (aligned_height, aligned_width)
        if is_order_fixed(grad):
            grad_input.copy_(_gradient_in_order(grad, rois, grad_input, bins, spatial_scale, sampling_ratio, aligned))
            return
        scale_and_sizes = (spatial_scale, *bins, *grad_input.shape, sampling_ratio, aligned)
        grad_input.copy_(torch.ops.torchvision._roi_align_backward(grad, rois.to(grad.dtype), *scale_and_sizes))
        return
    _, num_channels, height, width = grad_input.shape
    image_inds = rois[:, 0].long()[:, None, None, None]
    channels = torch.arange(num_channels, device=grad.device)[:, None, None]
    total = torch.zeros_like(grad_input, dtype=grad.dtype)
    for row, column, weight in _corners(widened(argmax_y), widened(argmax_x), (height, width)):
        total.index_put_((image_inds, channels, row, column), grad * weight, accumulate=True)
    grad_input.copy_(total)


def _gradient_in_order(grad: Tensor, rois: Tensor, like: Tensor, bins: tuple[int, int], *how: Any) -> Tensor:
    """Return the gradient, summed in a fixed order by the PyTorch code that torchvision uses in deterministic mode."""
    with torch.enable_grad():
        features = torch.zeros_like(like, dtype=grad.dtype, requires_grad=True)
        pooled = torchvision.ops.roi_align(features, rois.to(grad.dtype), bins, *how)
    (gradient,) = torch.autograd.grad(pooled, features, grad)
    return gradient


def _sample_positions(
    roi: Tensor, bins: tuple[int, int], spatial_scale: float, sampling_ratio: int, aligned: bool
) -> tuple[Tensor, Tensor]:
    """Return the rows ``[bins_y, samples_y]`` and columns ``[bins_x, samples_x]`` of one RoI's samples."""
    positions = []
    for low, high, num_bins in ((2, 4, bins[0]), (1, 3, bins[1])):
        start = roi[low] * spatial_scale - (0.5 if aligned else 0.0)
        length = (roi[high] - roi[low]) * spatial_scale
        bin_size = (length if aligned else length.clamp(min=1)) / num_bins
        num_samples = sampling_ratio if sampling_ratio > 0 else max(math.ceil(bin_size), 0)
        bin_starts = start + roi.new_tensor(range(num_bins)) * bin_size
        steps = (roi.new_tensor(range(num_samples)) + 0.5) * bin_size / max(num_samples, 1)
        positions.append(bin_starts[:, None] + steps)
    return positions[0], positions[1]


def _max_of_samples(feature: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the largest sample of every bin, its row and its column, each ``[C, bins_y, bins_x]``."""
    y, x = rows[:, None, :, None], columns[None, :, None, :]  # [bins_y, bins_x, samples_y, samples_x] together
    y, x = (y + torch.zeros_like(x)).flatten(2), (x + torch.zeros_like(y)).flatten(2)
    if y.shape[-1] == 0:  # an empty RoI has no samples
        empty = feature.new_zeros(feature.shape[0], *y.shape[:2])
        return empty, empty + OUTSIDE, empty + OUTSIDE
    samples = sum(
        (feature[:, row, column] * weight for row, column, weight in _corners(y, x, feature.shape[-2:])),
        start=feature.new_zeros(()),
    )
    value, best = samples.max(-1)
    return (
        value,
        y.expand_as(samples).gather(-1, best[..., None])[..., 0],
        x.expand_as(samples).gather(-1, best[..., None])[..., 0],
    )


def _corners(y: Tensor, x: Tensor, size: tuple[int, int] | torch.Size) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield row, column and bilinear weight of the four pixels around each point; weight 0 beyond one pixel outside."""
    height, width = size
    is_inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
            weight = torch.where(is_inside, row_weight * column_weight, 0)
            yield row.clamp(max=height - 1).long(), column.clamp(max=width - 1).long(), weight
