"""From decoded images to what an artefact takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brs_detr.runtime.artefact_info import Preprocessing
from brs_detr.runtime.resize import resize


class Prepared(NamedTuple):
    """A batch for a model.

    Args:
        images: float32 [B, 3, H, W].
        image_sizes: int64 [B, 2], (h, w) of each image without its padding.
        scales: float32 [B, 4], by which boxes (x1, y1, x2, y2) are larger than in the images that were given.
    """

    images: NDArray[np.float32]
    image_sizes: NDArray[np.int64]
    scales: NDArray[np.float32]


def prepare(images: Sequence[NDArray[np.uint8]], settings: Preprocessing) -> Prepared:
    """Resize, normalise and pad.

    Args:
        images: RGB [H, W, 3], of any sizes.
        settings: of the artefact.
    """
    sizes = [resized_size(image.shape[:2], settings) for image in images]
    height, width = settings.fixed_size or np.maximum(np.max(sizes, axis=0), settings.smallest_side).tolist()
    batch = np.zeros((len(images), 3, height, width), np.float32)
    mean, std = np.array(settings.mean, np.float32), np.array(settings.std, np.float32)
    for canvas, image, (h, w) in zip(batch, images, sizes, strict=True):
        canvas[:, :h, :w] = ((resize(image, (h, w)) - mean) / std).transpose(2, 0, 1)
    scales = [(w / image.shape[1], h / image.shape[0]) for image, (h, w) in zip(images, sizes, strict=True)]
    return Prepared(batch, np.array(sizes, np.int64), np.tile(np.array(scales, np.float32), 2))


def resized_size(size: tuple[int, ...], settings: Preprocessing) -> tuple[int, int]:
    """Size (h, w) that an image of (h, w) is resized to."""
    h, w = size
    if settings.fixed_size is not None:
        ratio = min(settings.fixed_size[0] / h, settings.fixed_size[1] / w)
    elif settings.short_side is not None and settings.long_side is not None:
        ratio = min(settings.long_side / max(h, w), settings.short_side / min(h, w))
    else:
        return h, w
    return max(int(h * ratio + 0.5), 1), max(int(w * ratio + 0.5), 1)
