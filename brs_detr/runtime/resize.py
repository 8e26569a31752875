"""Bilinear resizing of uint8 images, to the last bit as OpenCV does it, with numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PARTS = 2048
"""A weight of bilinear interpolation is a whole number of these."""


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image in fixed-point arithmetic, as ``cv2.resize`` does with ``INTER_LINEAR``.

    Args:
        image: [H, W, C].
        size: (h, w) in pixels.
    """
    if image.shape[:2] == size:
        return image
    left, right, left_parts, right_parts = _neighbours(image.shape[1], size[1], repeat_once=True)
    above, below, above_parts, below_parts = _neighbours(image.shape[0], size[0], repeat_once=False)
    used, place = np.unique(np.stack([above, below]), return_inverse=True)  # rows that the result is made of
    place_above, place_below = place.reshape(2, -1)
    rows = image[used]
    columns = rows[:, left] * left_parts[:, None]
    columns += rows[:, right] * right_parts[:, None]
    columns >>= 4
    quarters = columns[place_above] * above_parts[:, None, None] >> 16
    quarters += columns[place_below] * below_parts[:, None, None] >> 16
    quarters += 2
    quarters >>= 2
    return quarters.astype(np.uint8)


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
