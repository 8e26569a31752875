"""From the bytes of an upload to pixels, without trusting any of them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from brs_detr.serve.refusal import Refusal
from brs_detr.serve.uploads import Upload

if TYPE_CHECKING:
    from PIL.Image import Image

_BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WEBP",
}
_LONGEST = 100  # times the width; a panorama has 20
_KNOWN = "JPEG, PNG, WebP, BMP and TIFF"


def check_picture(upload: Upload, max_pixels: int) -> None:
    """Look at the header alone: cheap, so that a bad upload is refused before any work is done.

    Raises:
        Refusal: 415 for what is no image of a known format, 422 for one that is empty, damaged or too large.
    """
    _open(upload, max_pixels)


def decode_picture(upload: Upload, max_pixels: int) -> Image:
    """The picture in RGB, upright; the first one of an animation.

    Raises:
        Refusal: as `check_picture`, and 422 for one that is truncated or damaged further on.
    """
    from PIL import ImageOps

    picture = _open(upload, max_pixels)
    try:
        return _eight_bits(ImageOps.exif_transpose(picture)).convert("RGB")
    except Exception as error:  # whatever a decoder trips over in bytes made to trip it
        raise _damaged(upload, error) from error


def _eight_bits(picture: Image) -> Image:
    """16 bits scaled to 8, as OpenCV does it for training; Pillow would cut them off at 255."""
    return picture.convert("I").point(lambda value: value / 256) if picture.mode.startswith("I") else picture


def _open(upload: Upload, max_pixels: int) -> Image:
    from PIL import Image

    if not upload.content:
        raise Refusal(422, f"{upload.title} is empty.", "Send the file again, whole.")
    beginning = next(filter(upload.content.startswith, _BEGINNINGS), None)
    if beginning is None:
        raise Refusal(415, f"{upload.title} is in no known format.", f"Known are {_KNOWN}.")
    try:
        picture = Image.open(io.BytesIO(upload.content), formats=_decoders(_BEGINNINGS[beginning]))
    except Image.DecompressionBombError:
        raise _too_large(upload, "", max_pixels) from None
    except Exception as error:
        raise _damaged(upload, error) from error
    if picture.width * picture.height > max_pixels:
        raise _too_large(upload, f" ({picture.width} x {picture.height})", max_pixels)
    if max(picture.size) > _LONGEST * min(picture.size):  # resized for a detector, nothing would be left of its width
        raise Refusal(
            422,
            f"{upload.title} is a line of {picture.width} x {picture.height} pixels.",
            f"Cut it into pieces that are at most {_LONGEST} times as long as wide.",
        )
    return picture


def _decoders(name: str) -> tuple[str, ...]:
    return (name, "MPO") if name == "JPEG" else (name,)  # MPO: a JPEG with more pictures behind it


def _too_large(upload: Upload, size: str, max_pixels: int) -> Refusal:
    return Refusal(
        422,
        f"{upload.title} has more than {max_pixels / 1e6:g} million pixels{size}.",
        "Send it smaller, or start the server with a larger --max-pixels.",
    )


def _damaged(upload: Upload, error: Exception) -> Refusal:
    reason = "it cannot be decoded" if type(error).__name__ == "UnidentifiedImageError" else _first_line(error)
    return Refusal(422, f"{upload.title} is damaged or cut off: {reason}.", "Send it again, whole.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
