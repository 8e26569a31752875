"""Find images that are in a dataset twice, by fingerprints of their pixels."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brs_detr.data import kinds
from brs_detr.data.findings import Example, Finding
from brs_detr.data.kinds import FaultKind
from brs_detr.runtime.images import read_file

NUM_BITS = 256
MAX_DIFFERENCE = 16
"""Bits of `NUM_BITS` in which the outlines of one image, saved twice, may differ."""

_SIDE = 16
_MIN_CONTRAST = 2.0  # grey levels between neighbours, on average; flatter images have an outline of noise
_MIN_BITS = 32  # of each value: a smooth gradient has hardly any of one of them
_BLOCK = 4096  # outlines compared at a time


class Fingerprint(NamedTuple):
    """What identifies an image.

    Args:
        pixels: digest of size and pixels as loaded for training.
        outline: [256] difference hash, nearly the same after scaling or saving again; None where an image has too
            little contrast.
        brightest: largest value of a pixel, 0 to 255.
        is_plain: whether all pixels have one colour.
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
    is_plain = bool((pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())
    return Fingerprint(digest.digest(), _outline(pixels), int(pixels.max()), is_plain)


def _outline(pixels: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Difference hash: whether each of 16 x 16 cells is darker than its neighbour to the right."""
    grey = Image.fromarray(pixels).convert("L").convert("F")
    levels = np.asarray(grey.resize((_SIDE + 1, _SIDE), Image.Resampling.BOX))
    steps = np.diff(levels, axis=1)
    outline = (steps > 0).ravel()
    is_flat = np.abs(steps).mean() < _MIN_CONTRAST
    return None if is_flat or not _MIN_BITS <= outline.sum() <= NUM_BITS - _MIN_BITS else outline


def near_pairs(
    first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]], max_difference: int = MAX_DIFFERENCE
) -> Iterator[tuple[int, int]]:
    """Indices (in `first`, in `second`) of outlines that differ in at most `max_difference` bits."""
    if not first or not second:
        return
    columns = _signs(second).T
    for start in range(0, len(first), _BLOCK):
        agreement = _signs(first[start : start + _BLOCK]) @ columns  # equal minus different bits
        for row, column in np.argwhere(agreement >= NUM_BITS - 2 * max_difference).tolist():
            yield start + row, column


def _signs(outlines: Sequence[NDArray[np.bool_]]) -> NDArray[np.float32]:
    return np.where(np.stack(outlines), np.float32(1), np.float32(-1))


class DecodedImage(NamedTuple):
    """An image of a split that could be decoded."""

    split: str
    entry: dict[str, Any]
    path: Path
    fingerprint: Fingerprint

    def __str__(self) -> str:
        return f"{self.split} image {self.entry['id']} ({self.entry['file_name']})"


Pair = tuple[DecodedImage, DecodedImage]


def find_repeated(images: Sequence[DecodedImage]) -> Iterator[Finding]:
    """Find images of one split with the same pixels in different files."""
    groups = _by_pixels(images).values()
    pairs = [(group[0], other) for group in groups for other in group[1:] if other.path != group[0].path]
    if pairs:
        yield Finding.of(kinds.REPEATED_IMAGE, [_example(pair) for pair in pairs])


def find_leaks(splits: Iterable[Sequence[DecodedImage]]) -> Iterator[Finding]:
    """Find images of one split that are in an earlier one too: with the same pixels, or nearly the same."""
    found: dict[FaultKind, list[Pair]] = {kinds.LEAKED_IMAGE: [], kinds.SIMILAR_IMAGE: []}
    contained: list[str] = []
    for first, second in itertools.combinations(splits, 2):
        same = same_images(first, second)
        contained += _contained(second, first, same) or _contained(first, second, same_images(second, first))
        found[kinds.LEAKED_IMAGE] += same
        found[kinds.SIMILAR_IMAGE] += _similar_images(first, second, {other.entry["id"] for _, other in same})
    if contained:
        yield Finding.of(kinds.SAME_SPLITS, contained)
    yield from (Finding.of(kind, [_example(pair) for pair in pairs]) for kind, pairs in found.items() if pairs)


def same_images(first: Sequence[DecodedImage], second: Sequence[DecodedImage]) -> list[Pair]:
    """Images of `second` that are in `first` too, each behind that one."""
    known = _by_pixels(first)
    return [(known[other.fingerprint.pixels][0], other) for other in second if other.fingerprint.pixels in known]


def _contained(inner: Sequence[DecodedImage], outer: Sequence[DecodedImage], same: Sequence[Pair]) -> list[str]:
    is_all = same and len(same) == len(inner)
    return [f"every image of {inner[0].split}, {len(inner)}, is in {outer[0].split} too"] if is_all else []


def _similar_images(first: Sequence[DecodedImage], second: Sequence[DecodedImage], same_ids: set[int]) -> list[Pair]:
    left, left_outlines = _outlined(first)
    right, right_outlines = _outlined(image for image in second if image.entry["id"] not in same_ids)
    first_of: dict[int, int] = {}
    for at, other in near_pairs(left_outlines, right_outlines):
        first_of.setdefault(other, at)
    return [(left[at], right[other]) for other, at in sorted(first_of.items())]


def _outlined(images: Iterable[DecodedImage]) -> tuple[list[DecodedImage], list[NDArray[np.bool_]]]:
    pairs = [(image, image.fingerprint.outline) for image in images]
    kept = [(image, outline) for image, outline in pairs if outline is not None]
    return [image for image, _ in kept], [outline for _, outline in kept]


def _by_pixels(images: Sequence[DecodedImage]) -> dict[bytes, list[DecodedImage]]:
    groups: dict[bytes, list[DecodedImage]] = {}
    for image in images:
        groups.setdefault(image.fingerprint.pixels, []).append(image)
    return groups


def _example(pair: Pair) -> Example:
    first, other = pair
    return Example(f"{other}, as {first}", other.entry["id"], other.entry["file_name"], files=(first.path, other.path))
