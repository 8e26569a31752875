"""Tell whether two image files show the same picture."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brs_detr.runtime.images import read_file

NUM_BITS = 256
MAX_DIFFERENCE = 16
"""Bits of `NUM_BITS` in which the outlines of one picture, saved twice, may differ."""

_SIDE = 16
_MIN_CONTRAST = 2.0  # grey levels between neighbours, on average; flatter pictures have an outline of noise
_MIN_BITS = 32  # of each value: a smooth shade from one side to the other has hardly any of one of them
_BLOCK = 4096  # outlines compared at a time


class Fingerprint(NamedTuple):
    """What remains of a picture.

    Args:
        pixels: digest of size and pixels as they are loaded for training; equal for equal pictures alone.
        outline: [256] difference hash, nearly the same after scaling or saving again; None where a picture has no
            features to know it by.
        brightest: largest value of a pixel, 0 to 255.
        is_plain: whether all pixels are of one colour.
    """

    pixels: bytes
    outline: NDArray[np.bool_] | None
    brightest: int = 255
    is_plain: bool = False


def read_fingerprint(path: str | Path) -> Fingerprint:
    """Decode an image file and take its fingerprint.

    Raises:
        UnreadableImage: the file is missing or cannot be decoded.
    """
    pixels = read_file(path)
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.tobytes())
    return Fingerprint(digest.digest(), _outline(pixels), int(pixels.max()), _is_plain(pixels))


def near_pairs(
    first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]], max_difference: int = MAX_DIFFERENCE
) -> Iterator[tuple[int, int]]:
    """Places (in `first`, in `second`) of outlines that differ in `max_difference` bits at most."""
    if not first or not second:
        return
    columns = _signs(second).T
    for start in range(0, len(first), _BLOCK):
        agreement = _signs(first[start : start + _BLOCK]) @ columns  # equal minus different bits
        for row, column in np.argwhere(agreement >= NUM_BITS - 2 * max_difference).tolist():
            yield start + row, column


def _is_plain(pixels: NDArray[np.uint8]) -> bool:
    colour = pixels[0, 0]
    return bool((pixels[0] == colour).all() and (pixels == colour).all())


def _outline(pixels: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Difference hash: whether each of 16 x 16 places is darker than its neighbour to the right."""
    grey = Image.fromarray(pixels).convert("L").convert("F")
    levels = np.asarray(grey.resize((_SIDE + 1, _SIDE), Image.Resampling.BOX))
    steps = np.diff(levels, axis=1)
    outline = (steps > 0).ravel()
    is_flat = np.abs(steps).mean() < _MIN_CONTRAST
    return None if is_flat or not _MIN_BITS <= outline.sum() <= NUM_BITS - _MIN_BITS else outline


def _signs(outlines: Sequence[NDArray[np.bool_]]) -> NDArray[np.float32]:
    return np.where(np.stack(outlines), np.float32(1), np.float32(-1))
