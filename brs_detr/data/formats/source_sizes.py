"""Sizes of many images at a time."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from brs_detr.data.images import read_size
from brs_detr.runtime.images import UnreadableImage

_NUM_THREADS = 8

ImageSize = tuple[int, int]


def read_sizes(paths: Iterable[Path]) -> list[ImageSize | UnreadableImage]:
    """Read image headers in threads.

    Args:
        paths: image files.

    Returns:
        For each the size (h, w) as it is loaded for training, or why it cannot be read.
    """
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(_size_or_reason, paths))


def _size_or_reason(path: Path) -> ImageSize | UnreadableImage:
    try:
        return read_size(path)
    except UnreadableImage as error:
        return error
