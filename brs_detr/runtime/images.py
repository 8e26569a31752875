"""The one reader of images: checks, training and prediction see what it gives."""

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

from brs_detr.errors import UserError

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
"""What is read, by Pillow's name, with the suffixes by which images are found in folders. The content decides."""

SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

PIXEL_LIMIT = 178_956_970
"""Pixels that an image may have: as many as Pillow lets through."""

PIXEL_LIMIT_VARIABLE = "BRS_DETR_MAX_PIXELS"
"""Environment variable with another limit."""

ORIENTATION = 0x0112
"""EXIF tag of the rotation."""

TURNED = range(2, 9)
"""Its values that ask for a rotation or a reflection."""

LYING = range(5, 9)
"""Those that exchange width and height."""

NO_IMAGE = "it is not an image"
"""How the reason begins where a file is no image of a kind that is read."""

DECODER_FAILED = "could not create decoder object"
"""What Pillow says of a WebP or an AVIF that ends too early."""

_BITS_PER_SAMPLE = 258  # TIFF tag
_BEGINNINGS = {
    **{b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"RIFF": "WebP", b"BM": "BMP", b"GIF8": "GIF"},
    **{b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF"},
}

warnings.filterwarnings("ignore", module=r"PIL\.")  # of large images and odd metadata; what matters is an error


class UnreadableImage(UserError):
    """An image file that is missing or cannot be decoded; the message names the file, `reason` says why.

    A data loader worker sends an exception home as one string, its traceback in front. Made from such a string, this
    one finds its own message in it again, so that the user reads the same words with and without workers.
    """

    reason = ""

    def __init__(self, message: str, cure: str | None = None) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].rstrip(), cure)

    @classmethod
    def of(cls, path: str | Path, reason: object, cure: str = "Replace the file, or leave it out.") -> Self:
        """Say which file cannot be read, and why."""
        error = cls(f"Cannot read the image {path}: {reason}", cure)
        error.reason = str(reason)
        return error


class TooLargeImage(UnreadableImage):
    """An image file with more pixels than `most_pixels`."""


def most_pixels() -> int:
    """Pixels that an image may have: `PIXEL_LIMIT`, or what the environment variable says.

    Raises:
        UserError: that is not a whole number above 0.
    """
    text = os.environ.get(PIXEL_LIMIT_VARIABLE) or str(PIXEL_LIMIT)
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{PIXEL_LIMIT_VARIABLE}={text} is no number of pixels.", "Set it to a whole number.")
    return int(text)


@contextmanager
def open_image(path: str | Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image and read its header. What Pillow raises within the context becomes an `UnreadableImage`, too.

    Args:
        path: of the file.
        content: of the file, where it has been read already; `path` is then only its name.

    Raises:
        UnreadableImage: the file is missing, is no image, cannot be decoded, or has pixels that are no colours.
        TooLargeImage: it has more pixels than `most_pixels`.
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
    except Exception as error:  # Pillow's decoders raise all kinds
        raise UnreadableImage.of(path, _why_unreadable(error, path, content)) from error


def read_pixels(image: ImageLike) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] of a path, a PIL image or such an array.

    A file is turned upright as its EXIF data ask. Transparency is left out, 16 bits become the upper 8, and of several
    pages or frames the first is taken.

    Raises:
        UnreadableImage: a file is missing or cannot be decoded.
        ValueError: an array of another type or shape, or a PIL image whose pixels are no colours.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_file(Path(image))
    pixels = image if isinstance(image, np.ndarray) else _rgb(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"an image is uint8 [H, W, 3] in RGB, not {pixels.dtype} {list(pixels.shape)}")
    return pixels


def read_file(path: str | Path, content: bytes | None = None) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] of an image file, see `read_pixels` and `open_image`."""
    with open_image(path, content) as image:
        image.load()
        return _upright(_rgb(image), orientation_of(image))


def orientation_of(image: Image.Image) -> int:
    """What the EXIF data of an image ask for: 1 to 8 as the EXIF standard numbers them; 1 where they are damaged."""
    try:
        asked: Any = Image.Image.getexif(image).get(ORIENTATION)
    except Exception:  # as a damaged header of these data does
        return 1
    return int(asked) if asked in TURNED else 1


def _stream(path: str | Path, content: bytes | None) -> BinaryIO:
    """The file. Given its path, Pillow 13 maps a TIFF into memory, and garbles one that is to be turned."""
    if content is not None:
        return io.BytesIO(content)
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  (Path does not take names that the disk does not)
        raise UnreadableImage.of(path, "it is no file")  # a pipe or a device may have no end
    return Path(path).open("rb")


def _readable_formats() -> list[str]:
    """Of `FORMATS` those that this Pillow can open."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of the first page or frame, not turned."""
    shift = _bits(image) - 8
    if image.mode.startswith("I"):
        grey = (np.asarray(image) >> shift).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "CMYK":
        return _printed(image)
    if image.mode == "RGB":
        return np.asarray(image)  # spared a copy
    has_alpha = image.mode in ("PA", "RGBa") or "transparency" in image.info  # from RGBA alone Pillow drops it unseen
    return np.asarray((image.convert("RGBA") if has_alpha else image).convert("RGB"))


def _printed(image: Image.Image) -> NDArray[np.uint8]:
    """RGB of a picture in printing inks, rounded as OpenCV does it; Pillow's result is up to two grey levels off."""
    inks = np.asarray(image).astype(np.int32)  # [H, W, 4], 255 is all of the ink
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
    """Bits of a channel: 8, or up to 16 of grey pixels.

    Raises:
        ValueError: the pixels are floating-point numbers, or have a sign, or more bits.
    """
    if not image.mode.startswith(("I", "F")):
        return 8
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):  # these two mean 16 bits by it
        raise ValueError(
            "its pixels are floating-point numbers, have a sign, or have 32 bits; save it with 8 or 16 bits a channel"
        )
    return int(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0])


def _too_large(path: str | Path, num_pixels: int, limit: int) -> TooLargeImage:
    return TooLargeImage.of(
        path,
        f"it has {num_pixels:,} pixels, more than {limit:,}",
        f"Cut it into smaller pictures, or raise the limit with the variable {PIXEL_LIMIT_VARIABLE}={num_pixels}.",
    )


def _why_unreadable(error: Exception, path: str | Path, content: bytes | None) -> str:
    """What Pillow's exception says, in a line."""
    if not isinstance(error, UnidentifiedImageError):
        text = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        return "it is damaged or cut off" if text == DECODER_FAILED else text
    with _stream(path, content) as stream:
        beginning = stream.read(16)
    if not beginning:
        return "it is empty"
    if beginning[4:8] == b"ftyp":
        return "it is a damaged AVIF, or an AVIF or HEIC that Pillow does not read here; save it as JPEG or PNG"
    known = next((name for start, name in _BEGINNINGS.items() if beginning.startswith(start)), None)
    return f"its header is damaged, or it is a {known} of a kind that is not read" if known else _other_kind(path)


def _other_kind(path: str | Path) -> str:
    """What a file is not, with the kinds that are read where its suffix is that of another kind of image."""
    suffix = Path(path).suffix.lower()
    return f"{NO_IMAGE} of a kind that is read: {', '.join(FORMATS)}" if is_other_image(suffix) else NO_IMAGE


def is_other_image(suffix: str) -> bool:
    """Whether a suffix, in lower case with its dot, is that of images of a kind that is not read."""
    Image.init()
    return suffix not in SUFFIXES and (suffix in Image.registered_extensions() or suffix in (".svg", ".jxl"))
