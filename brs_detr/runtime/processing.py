"""Preprocessing (resize, normalise, pad) and postprocessing (select the best candidates) in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brs_detr.runtime.artefact_info import Postprocessing, Preprocessing
from brs_detr.runtime.session import Outputs

PARTS = 2048
"""Weights of bilinear interpolation are multiples of 1 / `PARTS`."""

_ROWS_PER_BLOCK = 32  # keeps intermediate results in the processor's cache


class Prepared(NamedTuple):
    """A batch of prepared images.

    Args:
        images: float32 [B, 3, H, W].
        image_sizes: int64 [B, 2], (h, w) of each image without padding.
        scales: float32 [B, 4], scale of boxes (x1, y1, x2, y2) relative to the original image.
    """

    images: NDArray[np.float32]
    image_sizes: NDArray[np.int64]
    scales: NDArray[np.float32]


def prepare(images: Sequence[NDArray[np.uint8]], settings: Preprocessing) -> Prepared:
    """Resize, normalise and pad RGB images [H, W, 3]."""
    sizes = [resized_size(image.shape[:2], settings) for image in images]
    height, width = settings.fixed_size or np.maximum(np.max(sizes, axis=0), settings.smallest_side).tolist()
    batch = np.zeros((len(images), 3, height, width), np.float32)
    mean, std = np.array(settings.mean, np.float32), np.array(settings.std, np.float32)
    for canvas, image, (h, w) in zip(batch, images, sizes, strict=True):
        canvas[:, :h, :w] = ((resize(image, (h, w)) - mean) / std).transpose(2, 0, 1)
    scales = [(w / image.shape[1], h / image.shape[0]) for image, (h, w) in zip(images, sizes, strict=True)]
    return Prepared(batch, np.array(sizes, np.int64), np.tile(np.array(scales, np.float32), 2))


def resized_size(size: tuple[int, ...], settings: Preprocessing) -> tuple[int, int]:
    """Return the size (h, w) that an image of size (h, w) is resized to."""
    h, w = size
    if settings.fixed_size is not None:
        ratio = min(settings.fixed_size[0] / h, settings.fixed_size[1] / w)
    elif settings.short_side is not None and settings.long_side is not None:
        ratio = min(settings.long_side / max(h, w), settings.short_side / min(h, w))
    else:
        return h, w
    return max(int(h * ratio + 0.5), 1), max(int(w * ratio + 0.5), 1)


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image [H, W, C] to (h, w), bit for bit like ``cv2.resize`` with ``INTER_LINEAR``."""
    if image.shape[:2] == size:
        return image
    channels = image.shape[2]
    left, right, left_parts, right_parts = _neighbours(image.shape[1], size[1], repeat_once=True)
    above, below, above_parts, below_parts = _neighbours(image.shape[0], size[0], repeat_once=False)
    left, right = ((cols[:, None] * channels + np.arange(channels)).ravel().astype(np.int32) for cols in (left, right))
    left_parts, right_parts = (parts.repeat(channels) for parts in (left_parts, right_parts))
    resized = np.empty((size[0], size[1] * channels), np.uint8)
    for start in range(0, size[0], _ROWS_PER_BLOCK):
        block = slice(start, start + _ROWS_PER_BLOCK)
        used, inverse = np.unique(np.stack([above[block], below[block]]), return_inverse=True)
        inds_above, inds_below = inverse.reshape(2, -1)
        rows = image[used].reshape(len(used), -1)
        columns = rows.take(left, 1) * left_parts
        columns += rows.take(right, 1) * right_parts
        columns >>= 4
        quarters = columns[inds_above] * above_parts[block, None] >> 16
        quarters += columns[inds_below] * below_parts[block, None] >> 16
        quarters += 2
        quarters >>= 2
        resized[block] = quarters
    return resized.reshape(*size, channels)


def _neighbours(old: int, new: int, repeat_once: bool) -> tuple[NDArray[np.int32], ...]:
    """Return the indices [new] of the two pixels that make up each new pixel, and their weights in `PARTS`.

    Beyond the outermost pixels, OpenCV gives all the weight to one of the two for columns (`repeat_once`), and keeps
    both weights for rows, which rounds differently.
    """
    coords = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    cells = np.floor(coords)
    fraction = coords - cells
    first = cells.astype(np.int32)
    if repeat_once:
        fraction[(first < 0) | (first >= old - 1)] = 0
    second_parts, first_parts = (
        np.rint(part * np.float32(PARTS)).astype(np.int32) for part in (fraction, 1 - fraction)
    )
    return first.clip(0, old - 1), (first + 1).clip(0, old - 1), first_parts, second_parts


def detected(outputs: Outputs, settings: Postprocessing) -> Outputs:
    """Return the detections of an image, best first, from its boxes [N, 4], scores [N] and labels [N]."""
    chosen = np.flatnonzero(outputs.scores >= 0) if settings.inside else best_candidates(*outputs, settings)
    boxes, scores, labels = outputs.boxes[chosen], outputs.scores[chosen], outputs.labels[chosen]
    if settings.score_map is not None:
        scores = settings.score_map(scores, labels).astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    return Outputs(boxes[order], scores[order], labels[order])


def best_candidates(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[np.int64], settings: Postprocessing
) -> NDArray[np.int64]:
    """Return the indices of the candidates that become detections, best first.

    Args:
        boxes: [N, 4] (x1, y1, x2, y2).
        scores: [N]; below 0 for unused slots.
        labels: [N]; boxes suppress each other only within a label.
        settings: largest number of detections, and IoU threshold of the suppression.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= 0]
    if settings.iou_threshold is None:
        return order[: settings.max_detections]
    kept = np.zeros(len(scores), bool)
    for label in np.unique(labels[order]):
        of_class = order[labels[order] == label]
        kept[of_class[_suppress(boxes[of_class], settings.iou_threshold, settings.max_detections)]] = True
    return order[kept[order]][: settings.max_detections]


def _suppress(boxes: NDArray[np.float32], iou_threshold: float, most: int) -> list[int]:
    """Suppress boxes, which come best first, and return the indices of at most `most` that remain.

    As in torchvision, IoUs are float32 and the threshold is float64, which matters for an IoU equal to the threshold.
    """
    corners = boxes.astype(np.float32)
    areas = (corners[:, 2:] - corners[:, :2]).prod(1)
    remaining = np.arange(len(boxes))
    kept: list[int] = []
    while len(remaining) and len(kept) < most:
        best, rest = remaining[0], remaining[1:]
        kept.append(int(best))
        low, high = np.maximum(corners[rest, :2], corners[best, :2]), np.minimum(corners[rest, 2:], corners[best, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        with np.errstate(invalid="ignore"):
            ious = shared / (areas[best] + areas[rest] - shared)
        remaining = rest[~(ious.astype(np.float64) > iou_threshold)]
    return kept
