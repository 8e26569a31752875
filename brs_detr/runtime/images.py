"""Read images. Checks, training and prediction all use this reader, so that they see the same pixels."""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from brs_detr.errors import UserError, first_line

if TYPE_CHECKING:
    from typing_extensions import Self

ImageLike: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8]"

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif"),
}
"""Supported formats by Pillow's name, with suffixes to find them in folders. The content decides, not the suffix."""

SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

PIXEL_LIMIT = 178_956_970
"""Default limit for the pixels of an image, the same as Pillow's."""

PIXEL_LIMIT_VARIABLE = "BRS_DETR_MAX_PIXELS"
"""Environment variable that sets another limit."""

ORIENTATION = 0x0112
"""EXIF tag of the orientation."""

TURNED = range(2, 9)
"""Values of `ORIENTATION` that mean a rotation or a reflection."""

LYING = range(5, 9)
"""Values of `ORIENTATION` that swap width and height."""

NO_IMAGE = "it is not an image"
"""Beginning of `UnreadableImage.reason` for a file that is not an image of a supported format."""

DECODER_FAILED = "could not create decoder object"
"""Pillow's message for a truncated WebP or AVIF."""

_BITS_PER_SAMPLE = 258  # TIFF tag
_BEGINNINGS = {
    **{b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"RIFF": "WebP", b"BM": "BMP", b"GIF8": "GIF"},
    **{b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF"},
}

warnings.filterwarnings(
    "ignore", module=r"PIL\."
)  # about large images and odd metadata; what matters is raised as an error


class UnreadableImage(UserError):
    """An image file that is missing or cannot be decoded; the message names the file, `reason` says why.

    A worker of a data loader re-raises an exception with its traceback in front of the message. The constructor removes
    the traceback, so that users see the same message with and without workers.
    """

    reason = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].rstrip(), hint)

    @classmethod
    def of(cls, path: str | Path, reason: object, hint: str = "Replace the file, or leave it out.") -> Self:
        """Make the error for a file and a reason."""
        error = cls(f"Cannot read the image {path}: {reason}", hint)
        error.reason = str(reason)
        return error


class TooLargeImage(UnreadableImage):
    """An image file with more pixels than `most_pixels`."""


def most_pixels() -> int:
    """Return the largest number of pixels of an image: `PIXEL_LIMIT`, or the value of the environment variable.

    Raises:
        UserError: the value is not a whole number above 0.
    """
    text = os.environ.get(PIXEL_LIMIT_VARIABLE) or str(PIXEL_LIMIT)
    if not text.isdecimal() or int(text) < 1:
        raise UserError(
            f"{PIXEL_LIMIT_VARIABLE}={text} is not a number of pixels.", "Set it to a whole number above 0."
        )
    return int(text)


@contextmanager
def open_image(path: str | Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image and read its header. Exceptions of Pillow within the context become an `UnreadableImage`.

    Args:
        path: path of the file.
        content: bytes of the file, if they are in memory already; then `path` is only a name.

    Raises:
        UnreadableImage: the file is missing, is not an image, cannot be decoded, or its pixels are not colours.
        TooLargeImage: it has more than `most_pixels` pixels.
    """
    limit = most_pixels()
    if Image.MAX_IMAGE_PIXELS is not None:  # Pillow refuses what is larger than twice this
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, (limit + 1) // 2)
    try:
        with _stream(path, content) as stream, Image.open(stream, formats=_readable_formats()) as image:
            if image.width * image.height > limit:
                raise _too_large(path, image.width * image.height, limit)
            _bits(image)
            yield image
    except UnreadableImage:
        raise
    except FileNotFoundError:
        raise UnreadableImage.of(path, "there is no such file") from None
    except Image.DecompressionBombError as error:
        number = re.search(r"\d+", str(error))
        raise _too_large(path, int(number[0]) if number else limit + 1, limit) from None
    except Exception as error:  # Pillow's decoders raise exceptions of all kinds
        raise UnreadableImage.of(path, _why_unreadable(error, path, content)) from error


def read_pixels(image: ImageLike) -> NDArray[np.uint8]:
    """Return an image as RGB uint8 [H, W, 3].

    Files are rotated according to their EXIF data. Transparency is dropped, of 16 bits the upper 8 are used, and of
    several pages or frames the first one.

    Args:
        image: path, PIL image, or RGB array uint8 [H, W, 3].

    Raises:
        UnreadableImage: a file is missing or cannot be decoded.
        ValueError: an array has another type or shape, or the pixels of a PIL image are not colours.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_file(Path(image))
    pixels = image if isinstance(image, np.ndarray) else _rgb(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"an image must be uint8 [H, W, 3] in RGB, not {pixels.dtype} {list(pixels.shape)}")
    return pixels


def read_file(path: str | Path, content: bytes | None = None) -> NDArray[np.uint8]:
    """Read an image file as RGB uint8 [H, W, 3], see `read_pixels` and `open_image`."""
    with open_image(path, content) as image:
        image.load()
        return _upright(_rgb(image), orientation_of(image))


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 (upright) if the EXIF data are missing or damaged."""
    try:
        asked: Any = Image.Image.getexif(image).get(ORIENTATION)
    except Exception:  # Pillow raises all kinds for damaged EXIF data
        return 1
    return int(asked) if asked in TURNED else 1


def _stream(path: str | Path, content: bytes | None) -> BinaryIO:
    """Open the file. Given a path, Pillow 13 would map a TIFF into memory and garble it if it must be rotated."""
    if content is not None:
        return io.BytesIO(content)
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  (Path refuses names that no disk accepts)
        raise UnreadableImage.of(path, "it is not a regular file")  # a pipe or a device may never end
    return Path(path).open("rb")


def _readable_formats() -> list[str]:
    """Return the `FORMATS` that the installed Pillow can open."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the first page or frame as RGB [H, W, 3], without rotating it."""
    shift = _bits(image) - 8
    if image.mode.startswith("I"):
        grey = (np.asarray(image) >> shift).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "CMYK":
        return _rgb_of_cmyk(image)
    if image.mode == "RGB":
        return np.asarray(image)  # saves a copy
    # Pillow drops alpha without blending only from RGBA
    has_alpha = image.mode in ("PA", "RGBa") or "transparency" in image.info
    return np.asarray((image.convert("RGBA") if has_alpha else image).convert("RGB"))


def _rgb_of_cmyk(image: Image.Image) -> NDArray[np.uint8]:
    """Convert CMYK to RGB with OpenCV's rounding; Pillow's result is up to two levels off."""
    inks = np.asarray(image).astype(np.int32)  # [H, W, 4], 255 is full ink
    paper = 255 - inks[..., 3:]
    return (paper - (inks[..., :3] * paper >> 8)).astype(np.uint8)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation in LYING:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _bits(image: Image.Image) -> int:
    """Return the bits per channel: 8, or up to 16 for greyscale.

    Raises:
        ValueError: the pixels are floating-point, signed or wider numbers.
    """
    if not image.mode.startswith(("I", "F")):
        return 8
    if image.mode == "F" or (
        image.mode == "I" and image.format not in ("PNG", "PPM")
    ):  # these formats use it for 16 bits
        raise ValueError(
            "its pixels are floating-point, signed or 32-bit numbers; save it with 8 or 16 bits per channel"
        )
    return int(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0])


def _too_large(path: str | Path, num_pixels: int, limit: int) -> TooLargeImage:
    return TooLargeImage.of(
        path,
        f"it has {num_pixels:,} pixels, more than {limit:,}",
        f"Cut it into smaller images, or raise the limit by setting {PIXEL_LIMIT_VARIABLE}={num_pixels}.",
    )


def _why_unreadable(error: Exception, path: str | Path, content: bytes | None) -> str:
    """Explain an exception of Pillow in one line."""
    if not isinstance(error, UnidentifiedImageError):
        text = first_line(error).rstrip(".")
        return "it is damaged or truncated" if text == DECODER_FAILED else text
    with _stream(path, content) as stream:
        beginning = stream.read(16)
    if not beginning:
        return "it is empty"
    if beginning[4:8] == b"ftyp":
        return "it is a damaged AVIF, or an AVIF or HEIC that this Pillow cannot read; save it as JPEG or PNG"
    known = next((name for start, name in _BEGINNINGS.items() if beginning.startswith(start)), None)
    return f"its header is damaged, or it is an unsupported kind of {known}" if known else _other_kind(path)


def _other_kind(path: str | Path) -> str:
    """Say that a file is not an image; list the supported formats if its suffix is that of another format."""
    suffix = Path(path).suffix.lower()
    return f"{NO_IMAGE} of a supported format: {', '.join(FORMATS)}" if is_other_image(suffix) else NO_IMAGE


def is_other_image(suffix: str) -> bool:
    """Whether a suffix, in lower case with its dot, belongs to an image format that is not supported."""
    Image.init()
    return suffix not in SUFFIXES and (suffix in Image.registered_extensions() or suffix in (".svg", ".jxl"))
