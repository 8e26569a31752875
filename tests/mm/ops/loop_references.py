"""Every operator written once more, as slowly and plainly as its definition reads, on float64.

The tensor ones are differentiable, so that autograd gives the reference for every gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Box = list[float]


def iou(a: Box, b: Box, offset: int = 0, mode: str = "iou") -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    divisor = area_a + area_b - width * height if mode == "iou" else area_a
    return width * height / divisor if divisor > 0 else 0.0


def nms(boxes: list[Box], scores: list[float], threshold: float, offset: int = 0) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def nms_match(boxes: list[Box], scores: list[float], threshold: float) -> list[list[int]]:
    groups: list[list[int]] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        group = next((group for group in groups if iou(boxes[i], boxes[group[0]]) >= threshold), None)
        if group is None:
            groups.append([i])
        else:
            group.append(i)
    return groups


def soft_nms(
    boxes: list[Box], scores: list[float], threshold: float, sigma: float, min_score: float, method: str, offset: int
) -> list[tuple[int, float]]:
    left = dict(enumerate(scores))
    kept: list[tuple[int, float]] = []
    while left:
        best = max(left, key=lambda i: left[i])
        kept.append((best, left.pop(best)))
        for i in list(left):
            overlap = iou(boxes[best], boxes[i], offset)
            if method == "gaussian":
                left[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                left[i] *= 1 - overlap if method == "linear" else 0
            if left[i] < min_score:
                del left[i]
    return kept


def pixel(feature: Tensor, row: int, column: int) -> Tensor:
    """Return a pixel of a ``[C, H, W]`` feature map; zeros outside."""
    is_inside = 0 <= row < feature.shape[1] and 0 <= column < feature.shape[2]
    return feature[:, row, column] if is_inside else feature.new_zeros(feature.shape[0])


def bilinear(feature: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Interpolate at a pixel position, with zeros around the map."""
    row, column = math.floor(y.detach()), math.floor(x.detach())
    top = pixel(feature, row, column) * (column + 1 - x) + pixel(feature, row, column + 1) * (x - column)
    bottom = pixel(feature, row + 1, column) * (column + 1 - x) + pixel(feature, row + 1, column + 1) * (x - column)
    return top * (row + 1 - y) + bottom * (y - row)


def roi_sample(feature: Tensor, y: float, x: float) -> Tensor:
    """RoIAlign's rule: up to one pixel outside reads the border, further out reads 0."""
    height, width = feature.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return feature.new_zeros(feature.shape[0])
    clamped = [
        torch.tensor(min(max(position, 0), size - 1), dtype=torch.float64)
        for position, size in ((y, height), (x, width))
    ]
    return bilinear(feature, *clamped)


def roi_align(
    features: Tensor, rois: Tensor, size: int, scale: float, sampling_ratio: int, mode: str, aligned: bool
) -> Tensor:
    pooled = []
    for image, x1, y1, x2, y2 in rois.tolist():
        shift = 0.5 if aligned else 0.0
        height, width = (y2 - y1) * scale, (x2 - x1) * scale
        if not aligned:
            height, width = max(height, 1.0), max(width, 1.0)
        bin_h, bin_w = height / size, width / size
        rows = sampling_ratio or math.ceil(bin_h)
        columns = sampling_ratio or math.ceil(bin_w)
        for p in range(size):
            for q in range(size):
                samples = [
                    roi_sample(
                        features[int(image)],
                        y1 * scale - shift + p * bin_h + (i + 0.5) * bin_h / rows,
                        x1 * scale - shift + q * bin_w + (j + 0.5) * bin_w / columns,
                    )
                    for i in range(rows)
                    for j in range(columns)
                ] or [features.new_zeros(features.shape[1])]
                stacked = torch.stack(samples)
                pooled.append(stacked.mean(0) if mode == "avg" else stacked.max(0).values)
    if not pooled:
        return features.new_zeros(0, features.shape[1], size, size) + features.sum() * 0
    return torch.stack(pooled).reshape(len(rois), size, size, -1).permute(0, 3, 1, 2)


def deform_conv(
    image: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    dilation: int,
    groups: int = 1,
    deform_groups: int = 1,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Convolve one image ``[C, H, W]``; ``offset`` is ``[2 * deform_groups * k * k, H_out, W_out]``."""
    num_out, num_in, k, _ = weight.shape
    per_deform_group = image.shape[0] // deform_groups
    height, width = offset.shape[1:]
    columns = []
    for p in range(height):
        for q in range(width):
            for g in range(deform_groups):
                part = image[g * per_deform_group : (g + 1) * per_deform_group]
                for i in range(k):
                    for j in range(k):
                        tap = (g * k + i) * k + j
                        y = p * stride - padding + i * dilation + offset[2 * tap, p, q]
                        x = q * stride - padding + j * dilation + offset[2 * tap + 1, p, q]
                        factor = 1 if mask is None else mask[tap, p, q]
                        columns.append(bilinear(part, y, x) * factor)
    taps = torch.stack(columns).reshape(height, width, deform_groups, k * k, per_deform_group)
    taps = taps.permute(0, 1, 2, 4, 3).reshape(height, width, groups, num_in, k * k)
    weights = weight.reshape(groups, num_out // groups, num_in, k * k)
    output = torch.einsum("hwgck,gock->gohw", taps, weights).reshape(num_out, height, width)
    return output if bias is None else output + bias[:, None, None]


def attention(value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    outputs = []
    batch_size, num_queries, num_heads, num_levels, num_points = weights.shape
    for b in range(batch_size):
        for q in range(num_queries):
            for h in range(num_heads):
                total, start = torch.zeros_like(value[0, 0, 0]), 0
                for level, (height, width) in enumerate(shapes):
                    feature = value[b, start : start + height * width, h].T.reshape(-1, height, width)
                    start += height * width
                    for p in range(num_points):
                        x, y = locations[b, q, h, level, p]
                        sample = bilinear(feature, y * height - 0.5, x * width - 0.5)
                        total = total + weights[b, q, h, level, p] * sample
                outputs.append(total)
    return torch.stack(outputs).reshape(batch_size, num_queries, -1)
