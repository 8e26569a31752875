"""Read sizes and headers of image files without decoding all of them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL.Image import Image

from brs_detr.runtime.images import LYING, TURNED, UnreadableImage, open_image, orientation_of

ImageSize = tuple[int, int]
"""(h, w) in pixels."""

NUM_THREADS = 8
"""Threads that read images at a time."""

_PNG_REMARKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # may ask for a rotation
_TAIL = 1024  # bytes searched for the end mark of a JPEG: some cameras write padding behind it


class ImageHeader(NamedTuple):
    """Properties of an image file.

    Args:
        size: (h, w) as loaded for training, after the EXIF rotation.
        stored_size: (h, w) before the rotation.
        is_turned: whether EXIF asks for a rotation or a reflection.
        has_more: whether further pages or frames follow the first, which is the one that is loaded.
        has_16_bits: whether its grey pixels have more than 8 bits.
    """

    size: ImageSize
    stored_size: ImageSize
    is_turned: bool
    has_more: bool
    has_16_bits: bool


def read_size(path: str | Path) -> ImageSize:
    """Size (h, w) of an image as loaded for training, see `read_header`."""
    return read_header(path).size


def read_sizes(paths: Iterable[Path]) -> list[ImageSize | UnreadableImage]:
    """Read sizes in threads; in place of a size is the error where an image cannot be read."""

    def size_or_error(path: Path) -> ImageSize | UnreadableImage:
        try:
            return read_size(path)
        except UnreadableImage as error:
            return error

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(size_or_error, paths))


def read_header(path: str | Path) -> ImageHeader:
    """Read the header of an image.

    Of a complete JPEG or PNG only the header and the last bytes are read. Other files are decoded.

    Raises:
        UnreadableImage: the file is missing, is not an image, is truncated, or has pixels that are no colours.
        TooLargeImage: it has too many pixels.
    """
    with open_image(path) as image:
        if image.format == "PNG" and not _is_plain_png(Path(path)):
            image.load()  # first: what stands behind the pixels belongs to the header
        orientation, stored = orientation_of(image), _stored_size(image)
        if not (image.format == "PNG" or (image.format in ("JPEG", "MPO") and _is_whole_jpeg(Path(path)))):
            image.load()
        has_more, has_16_bits = _has_more(image), image.mode.startswith("I")
    size = stored[::-1] if orientation in LYING else stored
    return ImageHeader(size, stored, orientation in TURNED, has_more, has_16_bits)


def _stored_size(image: Image) -> ImageSize:
    """(h, w) before any rotation. For TIFF some versions of Pillow give the one after it."""
    width, height = image.size
    if image.format == "TIFF":
        width, height = (int(image.tag_v2[tag]) for tag in (256, 257))  # type: ignore[attr-defined]
    return height, width


def _has_more(image: Image) -> bool:
    if image.format == "MPO":  # a photo with a preview or a depth map behind it
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # frames after the first are damaged, and not used
        return True


def _is_whole_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return b"\xff\xd9" in file.read()


def _is_plain_png(path: Path) -> bool:
    """Whether a PNG is complete, and has no metadata behind its pixels."""
    has_pixels = False
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND" or (has_pixels and kind in _PNG_REMARKS):
                return kind == b"IEND"
            has_pixels |= kind == b"IDAT"
            file.seek(length + 4, os.SEEK_CUR)
    return False
