"""Find images that are in a data set twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brs_detr.data.checks.fingerprint import Fingerprint, near_pairs
from brs_detr.data.checks.image_check import ImageLook
from brs_detr.data.findings import Example, FaultKind, Finding

REPEATED_IMAGE = FaultKind(
    "picture that is there twice in one split", "Keep one of the two, with all of its boxes.", "warning"
)
LEAKED_IMAGE = FaultKind(
    "picture that is in two splits",
    "Keep it in one of them: what was trained on cannot measure how well a model does on new pictures.",
    "warning",
)
SAME_SPLITS = FaultKind(
    "split whose pictures are all in another one",
    "Divide the pictures, or leave one of the two splits out: for training 20 % of the others are held out.",
    "warning",
)
SIMILAR_IMAGE = FaultKind(
    "picture that is nearly the same in two splits",
    "Keep copies, crops and neighbouring frames of one scene in one split, or the measured AP will be too high.",
    "warning",
)


class Picture(NamedTuple):
    """An image of a split that could be decoded."""

    split: str
    entry: dict[str, Any]
    path: Path
    fingerprint: Fingerprint

    def __str__(self) -> str:
        return f"{self.split} image {self.entry['id']} ({self.entry['file_name']})"


Pair = tuple[Picture, Picture]


def decoded_pictures(split: str, images: Sequence[dict[str, Any]], looks: Sequence[ImageLook]) -> list[Picture]:
    """The images of a split that have a fingerprint."""
    pairs = zip(images, looks, strict=True)
    return [Picture(split, image, look.path, look.fingerprint) for image, look in pairs if look.fingerprint]


def find_repeated(pictures: Sequence[Picture]) -> Iterator[Finding]:
    """Pictures of one split with the same pixels in different files."""
    groups = _by_pixels(pictures).values()
    pairs = [(group[0], other) for group in groups for other in group[1:] if other.path != group[0].path]
    if pairs:
        yield Finding.of(REPEATED_IMAGE, [_example(pair) for pair in pairs])


def find_leaks(splits: Iterable[Sequence[Picture]]) -> Iterator[Finding]:
    """Pictures of one split that are in an earlier one too: the same pixels, or nearly the same picture.

    Args:
        splits: the pictures of each split.
    """
    found: dict[FaultKind, list[Pair]] = {LEAKED_IMAGE: [], SIMILAR_IMAGE: []}
    contained: list[str] = []
    for first, second in itertools.combinations(splits, 2):
        same = same_pictures(first, second)
        contained += _contained(second, first, same) or _contained(first, second, same_pictures(second, first))
        found[LEAKED_IMAGE] += same
        found[SIMILAR_IMAGE] += _similar_pictures(first, second, {other.entry["id"] for _, other in same})
    if contained:
        yield Finding.of(SAME_SPLITS, contained)
    yield from (Finding.of(kind, [_example(pair) for pair in pairs]) for kind, pairs in found.items() if pairs)


def _contained(inner: Sequence[Picture], outer: Sequence[Picture], same: Sequence[Pair]) -> list[str]:
    is_all = same and len(same) == len(inner)
    return [f"every picture of {inner[0].split}, {len(inner)}, is in {outer[0].split} too"] if is_all else []


def same_pictures(first: Sequence[Picture], second: Sequence[Picture]) -> list[Pair]:
    """Each picture of `second` that is in `first` too, behind that one."""
    known = _by_pixels(first)
    return [(known[other.fingerprint.pixels][0], other) for other in second if other.fingerprint.pixels in known]


def _similar_pictures(first: Sequence[Picture], second: Sequence[Picture], same_ids: set[int]) -> list[Pair]:
    left, left_outlines = _outlined(first)
    right, right_outlines = _outlined(picture for picture in second if picture.entry["id"] not in same_ids)
    places: dict[int, int] = {}
    for place, other in near_pairs(left_outlines, right_outlines):
        places.setdefault(other, place)
    return [(left[place], right[other]) for other, place in sorted(places.items())]


def _outlined(pictures: Iterable[Picture]) -> tuple[list[Picture], list[NDArray[np.bool_]]]:
    """The pictures that have features to know them by, and their outlines."""
    pairs = [(picture, picture.fingerprint.outline) for picture in pictures]
    kept = [(picture, outline) for picture, outline in pairs if outline is not None]
    return [picture for picture, _ in kept], [outline for _, outline in kept]


def _by_pixels(pictures: Sequence[Picture]) -> dict[bytes, list[Picture]]:
    groups: dict[bytes, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.fingerprint.pixels, []).append(picture)
    return groups


def _example(pair: Pair) -> Example:
    first, other = pair
    return Example(f"{other}, as {first}", other.entry["id"], other.entry["file_name"], files=(first.path, other.path))
