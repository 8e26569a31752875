"""What can be said about an image file without decoding all of it."""

from __future__ import annotations

from pathlib import Path

from brs_detr.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 lie on their side
_END_MARKS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 1024  # bytes searched for the end mark: some cameras write padding behind it


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


def read_size(path: str | Path) -> tuple[int, int]:
    """Size of an image as it is loaded for training, that is after the rotation its EXIF data ask for.

    Reads the header and the last bytes. Only a file that does not end as its format should is decoded, to tell a
    truncated image from one with something appended.

    Args:
        path: image file.

    Returns:
        (h, w) in pixels.

    Raises:
        UnreadableImage: the file is missing, is not an image, or is truncated.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            is_turned = image.format in ("JPEG", "MPO") and image.getexif().get(_ORIENTATION, 1) >= 5
            if not _ends_well(Path(path), image.format):
                image.load()
    except FileNotFoundError:
        raise UnreadableImage.of(path, "there is no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage.of(path, _first_line(error)) from error
    return (width, height) if is_turned else (height, width)


def _ends_well(path: Path, image_format: str | None) -> bool:
    mark = _END_MARKS.get(image_format or "")
    if mark is None:
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return mark in file.read()


def _first_line(error: Exception) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is not an image"
    return (str(error).splitlines() or [type(error).__name__])[0]
