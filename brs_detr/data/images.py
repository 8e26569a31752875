"""What can be said about an image file without decoding all of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from brs_detr.runtime.images import UnreadableImage, why_unreadable

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

ORIENTATION = 0x0112
"""EXIF tag of the rotation."""

_TURNED = range(2, 9)  # its values that ask for a rotation or a reflection
_LYING = range(5, 9)  # those that exchange width and height
_END_MARKS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 1024  # bytes searched for the end mark: some cameras write padding behind it


class ImageHeader(NamedTuple):
    """What an image file says of itself.

    Args:
        size: (h, w) as the image is loaded for training, that is after the rotation its EXIF data ask for.
        stored_size: (h, w) before it.
        is_turned: whether the EXIF data ask for a rotation or a reflection.
    """

    size: tuple[int, int]
    stored_size: tuple[int, int]
    is_turned: bool


def read_size(path: str | Path) -> tuple[int, int]:
    """Size (h, w) of an image as it is loaded for training, see `read_header`."""
    return read_header(path).size


def read_header(path: str | Path) -> ImageHeader:
    """Size and rotation of an image.

    Reads the header and the last bytes. Only a file that does not end as its format should is decoded, to tell a
    truncated image from one with something appended.

    Args:
        path: image file.

    Returns:
        Sizes in pixels, and whether the image is to be turned.

    Raises:
        UnreadableImage: the file is missing, is not an image, or is truncated.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            image_format, orientation = image.format, _orientation(image)
            if not _ends_well(Path(path), image_format):
                image.load()
        size = _upright_size(Path(path), image_format, orientation, (height, width))
    except FileNotFoundError:
        raise UnreadableImage.of(path, "there is no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage.of(path, why_unreadable(error)) from error
    return ImageHeader(size, (height, width), orientation in _TURNED)


def _orientation(image: Image) -> Any:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole image to look for it at the end
    return image.getexif().get(ORIENTATION, 1)


def _upright_size(path: Path, image_format: str | None, orientation: Any, stored: tuple[int, int]) -> tuple[int, int]:
    """Size (h, w) as loaded. Of JPEG every OpenCV turns the image; of other formats that depends on its version."""
    if orientation in _LYING and image_format in ("JPEG", "MPO"):
        return stored[1], stored[0]
    if orientation not in _TURNED or image_format in ("JPEG", "MPO"):
        return stored
    import cv2

    loaded = cv2.imread(str(path))
    if loaded is None:
        raise OSError("OpenCV cannot turn it as its EXIF data ask")
    return loaded.shape[0], loaded.shape[1]


def _ends_well(path: Path, image_format: str | None) -> bool:
    mark = _END_MARKS.get(image_format or "")
    if mark is None:
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return mark in file.read()
