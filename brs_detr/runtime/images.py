"""Pixels of whatever is given as an image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from brs_detr.errors import UserError

ImageLike: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8]"

DECODING_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError)
"""What Pillow raises, by format, for a file that it cannot decode."""


class UnreadableImage(UserError):
    """An image file that is missing or cannot be decoded; the message names the file.

    A data loader worker sends an exception home as one string, its traceback in front. Made from such a string, this
    one finds its own message in it again, so that the user reads the same words with and without workers.
    """

    def __init__(self, message: str, cure: str | None = None) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].rstrip(), cure)

    @classmethod
    def of(cls, path: str | Path, reason: object) -> UnreadableImage:
        """Say which file cannot be read, and why."""
        return cls(f"Cannot read the image {path}: {reason}", "Replace the file, or take it out of the data set.")


def read_pixels(image: ImageLike) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] of a path, a PIL image or such an array.

    Raises:
        UnreadableImage: a file is missing or cannot be decoded.
        ValueError: an array of another type or shape.
    """
    if isinstance(image, (str, os.PathLike)):
        return _read_file(Path(image))
    pixels = np.asarray(image if isinstance(image, np.ndarray) else image.convert("RGB"))
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"an image is uint8 [H, W, 3] in RGB, not {pixels.dtype} {list(pixels.shape)}")
    return pixels


def _read_file(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as file:
            turned = ImageOps.exif_transpose(file)
            if turned.mode.startswith("I;16"):
                turned = Image.fromarray((np.asarray(turned) >> 8).astype(np.uint8))
            if turned.mode == "CMYK" and file.format == "JPEG":
                return _printed(turned)
            return np.asarray(turned.convert("RGB"))
    except FileNotFoundError:
        raise UnreadableImage.of(path, "there is no such file") from None
    except DECODING_ERRORS as error:
        raise UnreadableImage.of(path, why_unreadable(error)) from error


def _printed(image: Image.Image) -> NDArray[np.uint8]:
    """RGB of a picture in printing inks, rounded as OpenCV does it; Pillow's result is up to two grey levels off."""
    inks = np.asarray(image).astype(np.int32)  # [H, W, 4], 255 is all of the ink
    paper = 255 - inks[..., 3:]
    return (paper - (inks[..., :3] * paper >> 8)).astype(np.uint8)


def why_unreadable(error: Exception) -> str:
    """What Pillow's exception says, in a line."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is not an image"
    return (str(error).splitlines() or [type(error).__name__])[0]
