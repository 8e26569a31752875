"""What can be said about an image file without decoding all of it."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

from PIL.Image import Image

from brs_detr.runtime.images import LYING, TURNED, open_image, orientation_of

_PNG_REMARKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # may ask for a rotation
_TAIL = 1024  # bytes searched for the end mark of a JPEG: some cameras write padding behind it


class ImageHeader(NamedTuple):
    """What an image file says of itself.

    Args:
        size: (h, w) as the image is loaded for training, that is after the rotation its EXIF data ask for.
        stored_size: (h, w) before it.
        is_turned: whether the EXIF data ask for a rotation or a reflection.
        has_more: whether there are more pages or frames than the first, which is the one that is loaded.
        has_16_bits: whether its grey pixels have more than 8 bits.
    """

    size: tuple[int, int]
    stored_size: tuple[int, int]
    is_turned: bool
    has_more: bool
    has_16_bits: bool


def read_size(path: str | Path) -> tuple[int, int]:
    """Size (h, w) of an image as it is loaded for training, see `read_header`."""
    return read_header(path).size


def read_header(path: str | Path) -> ImageHeader:
    """Size and rotation of an image.

    Of a JPEG or PNG that ends as it should, the header and the last bytes are read. Everything else is decoded.

    Args:
        path: image file.

    Returns:
        Sizes in pixels, whether the image is to be turned, and whether more pages follow.

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


def _stored_size(image: Image) -> tuple[int, int]:
    """(h, w) before any rotation. Of TIFF some versions of Pillow give the one after it."""
    width, height = image.size
    if image.format == "TIFF":
        width, height = (int(image.tag_v2[tag]) for tag in (256, 257))  # type: ignore[attr-defined]
    return height, width


def _has_more(image: Image) -> bool:
    if image.format == "MPO":  # a photo with a preview or a depth map behind it
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first frame is damaged, and not looked at
        return True


def _is_whole_jpeg(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return b"\xff\xd9" in file.read()


def _is_plain_png(path: Path) -> bool:
    """Whether a PNG is whole, and has no remark behind its pixels."""
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
