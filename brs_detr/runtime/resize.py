"""Bilinear resizing of uint8 images, to the last bit as OpenCV does it, with numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PARTS = 2048
"""A weight of bilinear interpolation is a whole number of these."""

_ROWS_AT_A_TIME = 32  # what they need between the steps stays in a processor's cache


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image in fixed-point arithmetic, as ``cv2.resize`` does with ``INTER_LINEAR``.

    Args:
        image: [H, W, C].
        size: (h, w) in pixels.
    """
    if image.shape[:2] == size:
        return image
    channels = image.shape[2]
    left, right, left_parts, right_parts = _neighbours(image.shape[1], size[1], repeat_once=True)
    above, below, above_parts, below_parts = _neighbours(image.shape[0], size[0], repeat_once=False)
    left, right = (_of_channels(pixels, channels) for pixels in (left, right))
    left_parts, right_parts = (parts.repeat(channels) for parts in (left_parts, right_parts))
    resized = np.empty((size[0], size[1] * channels), np.uint8)
    for start in range(0, size[0], _ROWS_AT_A_TIME):
        some = slice(start, start + _ROWS_AT_A_TIME)
        used, place = np.unique(np.stack([above[some], below[some]]), return_inverse=True)
        place_above, place_below = place.reshape(2, -1)
        rows = image[used].reshape(len(used), -1)
        columns = rows.take(left, 1) * left_parts
        columns += rows.take(right, 1) * right_parts
        columns >>= 4
        quarters = columns[place_above] * above_parts[some, None] >> 16
        quarters += columns[place_below] * below_parts[some, None] >> 16
        quarters += 2
        quarters >>= 2
        resized[some] = quarters
    return resized.reshape(*size, channels)


def _of_channels(pixels: NDArray[np.int32], channels: int) -> NDArray[np.int32]:
    """Places of all channels of some pixels, in a row whose pixels lie one behind the other."""
    places = pixels[:, None] * channels + np.arange(channels)
    return places.ravel().astype(np.int32)


def _neighbours(old: int, new: int, repeat_once: bool) -> tuple[NDArray[np.int32], ...]:
    """The two pixels of a side that each new pixel is made of, [new] each, and their weights in `PARTS`.

    Args:
        old, new: pixels of the side.
        repeat_once: beyond the outer pixels give one of the two all the weight. OpenCV does so for columns, and keeps
            both weights for rows, which rounds differently.
    """
    places = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    cells = np.floor(places)
    fraction = places - cells
    first = cells.astype(np.int32)
    if repeat_once:
        fraction[(first < 0) | (first >= old - 1)] = 0
    second_parts, first_parts = (
        np.rint(part * np.float32(PARTS)).astype(np.int32) for part in (fraction, 1 - fraction)
    )
    return first.clip(0, old - 1), (first + 1).clip(0, old - 1), first_parts, second_parts
