"""From the bytes of an upload to pixels, without trusting any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brs_detr.runtime.images import NO_IMAGE, TooLargeImage, UnreadableImage, open_image, read_file
from brs_detr.serve.refusal import Refusal
from brs_detr.serve.uploads import Upload

if TYPE_CHECKING:
    from PIL.Image import Image

_LONGEST = 100  # times the width; a panorama has 20
_KNOWN = "JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, JPEG 2000 and AVIF"


def check_picture(upload: Upload, max_pixels: int) -> None:
    """Look at the header alone: cheap, so that a bad upload is refused before any work is done.

    Raises:
        Refusal: 415 for what is no image of a known format, 422 for one that is empty, damaged or too large.
    """
    if not upload.content:
        raise Refusal(422, f"{upload.title} is empty.", "Send the file again, whole.")
    try:
        with open_image(upload.title, upload.content) as picture:
            width, height = picture.size
    except TooLargeImage:
        raise _too_large(upload, "", max_pixels) from None
    except UnreadableImage as error:
        raise _unreadable(upload, error) from error
    if width * height > max_pixels:
        raise _too_large(upload, f" ({width} x {height})", max_pixels)
    if max(width, height) > _LONGEST * min(width, height):  # resized for a detector, nothing is left of its width
        raise Refusal(
            422,
            f"{upload.title} is a line of {width} x {height} pixels.",
            f"Cut it into pieces that are at most {_LONGEST} times as long as wide.",
        )


def decode_picture(upload: Upload, max_pixels: int) -> Image:
    """The picture in RGB, upright; the first one of an animation.

    Raises:
        Refusal: as `check_picture`, and 422 for one that is truncated or damaged further on.
    """
    from PIL import Image

    check_picture(upload, max_pixels)
    try:
        return Image.fromarray(read_file(upload.title, upload.content))
    except UnreadableImage as error:
        raise _unreadable(upload, error) from error


def _too_large(upload: Upload, size: str, max_pixels: int) -> Refusal:
    return Refusal(
        422,
        f"{upload.title} has more than {max_pixels / 1e6:.3g} million pixels{size}.",
        "Send it smaller, or start the server with a larger --max-pixels.",
    )


def _unreadable(upload: Upload, error: UnreadableImage) -> Refusal:
    if error.reason.startswith(NO_IMAGE):
        return Refusal(415, f"{upload.title} is in no known format.", f"Known are {_KNOWN}.")
    return Refusal(422, f"{upload.title} cannot be read: {error.reason}.", "Send it again, whole and as a JPEG or PNG.")
