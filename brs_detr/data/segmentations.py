"""Tell which outlines of objects can be made into masks, whatever numbers they hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

ImageSize = tuple[float, float]


def usable_segmentation(stated: Any, size: ImageSize) -> Any:
    """What can be used of the `segmentation` of an annotation.

    Masks are made in room as large as the numbers say, so that these must fit the image.

    Args:
        stated: polygons, each a list of x, y in turn, or run lengths: an object with `size` and `counts`.
        size: (h, w) of the image.

    Returns:
        The same object where all of it can be used; else the polygons with 3 corners or more, none farther from the
        image than this is wide or high; None where nothing can be used.
    """
    if isinstance(stated, list):
        kept = [polygon for polygon in stated if _is_polygon(polygon, size)]
        return stated if kept and len(kept) == len(stated) else kept or None
    if isinstance(stated, dict):
        return stated if stated.get("size") == list(size) and _fill(stated.get("counts"), size) else None
    return None


def _is_polygon(polygon: Any, size: ImageSize) -> bool:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    if not set(map(type, polygon)) <= {int, float}:
        return False
    are_near = all(
        -side <= min(numbers) and max(numbers) <= 2 * side
        for numbers, side in ((polygon[::2], size[1]), (polygon[1::2], size[0]))
    )
    return are_near and math.isfinite(sum(polygon))


def _fill(counts: Any, size: ImageSize) -> bool:
    """Whether run lengths cover the image exactly."""
    num_pixels = size[0] * size[1]
    if isinstance(counts, list):
        return all(type(count) is int and 0 <= count <= num_pixels for count in counts) and sum(counts) == num_pixels
    lengths = _decompressed(counts) if isinstance(counts, str) and counts.isascii() else None
    return lengths is not None and bool((lengths >= 0).all()) and int(lengths.sum()) == num_pixels


def _decompressed(text: str) -> NDArray[np.int64] | None:
    """Run lengths of COCO's text: 5 bits a letter from `0` on, the sixth says that more follow; None where it is none.

    From the fourth on, a number is the difference from the one two places before.
    """
    letters = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - ord("0")
    ends = np.flatnonzero(letters & 32 == 0)
    if not len(ends) or ends[-1] != len(letters) - 1 or letters.min() < 0 or letters.max() > 63:
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    widths = ends - starts + 1
    if widths.max() > 8:  # 40 bits
        return None
    shifts = 5 * (np.arange(len(letters)) - np.repeat(starts, widths))
    numbers = np.add.reduceat((letters & 31) << shifts, starts)
    numbers -= np.where(letters[ends] & 16, np.int64(1) << (5 * widths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
