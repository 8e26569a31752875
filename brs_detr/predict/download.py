"""Download an image or a video over http."""

from __future__ import annotations

import http.client
import time
import urllib.error
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from brs_detr.checkpoints.download import Cut, TooLarge, announced_length, open_address, save_response
from brs_detr.errors import UserError
from brs_detr.files import written_whole

MOST_BYTES = 2 << 30
SECONDS_WITHOUT_A_BYTE = 20.0
SECONDS = 600.0

_SUFFIX_OF = {
    **{"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/bmp": ".bmp", "image/tiff": ".tif"},
    **{"image/gif": ".gif", "image/avif": ".avif", "image/jp2": ".jp2", "image/x-portable-pixmap": ".ppm"},
    **{"video/mp4": ".mp4", "video/webm": ".webm", "video/quicktime": ".mov", "video/x-msvideo": ".avi"},
}


def download(address: str, folder: Path, suffixes: Collection[str], most_bytes: int = MOST_BYTES) -> Path:
    """Download an image or a video.

    Args:
        address: http or https address.
        folder: folder for the file.
        suffixes: accepted suffixes.
        most_bytes: limit for the size of the file.

    Returns:
        The file, named after the last part of the address.

    Raises:
        UserError: the address is not http, does not respond with the whole file, or is something else.
    """
    ends = time.monotonic() + SECONDS

    def require_time(done: int, total: int | None) -> None:
        if time.monotonic() > ends:
            raise UserError(f"Downloading {address} takes longer than {SECONDS:.0f} s.", "Download it by other means.")

    try:
        with open_address(address, is_vouched_for=True, timeout=SECONDS_WITHOUT_A_BYTE) as answer:
            path = folder / _file_name(address, answer.headers.get_content_type(), suffixes)
            with written_whole(path) as partial, partial.open("wb") as file:
                save_response(answer, file, announced_length(answer.headers), most_bytes, require_time)
    except TooLarge:
        raise UserError(
            f"{address} is larger than {most_bytes / 2**20:.0f} MiB.", "Download it by other means."
        ) from None
    except (Cut, urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"Cannot download {address}: {reason}.", "Check the address and the network.") from None
    return path


def _file_name(address: str, content_type: str, suffixes: Collection[str]) -> str:
    name = PurePosixPath(unquote(urlsplit(address).path)).name.replace("\\", "_") or "download"
    suffix = _SUFFIX_OF.get(content_type) or PurePosixPath(name).suffix.lower()
    if suffix not in suffixes:
        raise UserError(f"{address} is not an image or a video, but {content_type}.", "Give the address of a file.")
    return name if PurePosixPath(name).suffix.lower() in suffixes else name + suffix
