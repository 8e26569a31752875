"""Fetch one file over http."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from brs_detr.errors import UserError

MOST_BYTES = 2 << 30
SECONDS_WITHOUT_A_BYTE = 20.0
SECONDS = 600.0
_CHUNK = 1 << 18

_SUFFIX_OF = {
    **{"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/bmp": ".bmp", "image/tiff": ".tif"},
    **{"image/gif": ".gif", "image/avif": ".avif", "image/jp2": ".jp2", "image/x-portable-pixmap": ".ppm"},
    **{"video/mp4": ".mp4", "video/webm": ".webm", "video/quicktime": ".mov", "video/x-msvideo": ".avi"},
}


class _SameSchemes(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        """Refuse any other scheme."""
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.URLError(f"it is redirected to {urlsplit(newurl).scheme}:")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(address: str, folder: Path, suffixes: Collection[str], most_bytes: int = MOST_BYTES) -> Path:
    """Fetch an image or a video.

    Args:
        address: http or https.
        folder: where to put it.
        suffixes: of files that are wanted.
        most_bytes: that it may have.

    Returns:
        The file, named after the last part of the address.

    Raises:
        UserError: the address is of another kind, cannot be fetched whole, or holds something else.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        raise UserError(f"{address} is no http or https address.", "Download the file, and give its path.")
    opener = urllib.request.build_opener(_SameSchemes)
    try:
        with opener.open(address, timeout=SECONDS_WITHOUT_A_BYTE) as answer:
            path = folder / _file_name(parts.path, answer.headers.get_content_type(), suffixes, address)
            declared = int(answer.headers.get("Content-Length") or 0)
            if declared > most_bytes:
                raise _too_large(address, most_bytes)
            _save(answer, path, address, most_bytes)
    except UserError:
        raise
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"Cannot fetch {address}: {reason}.", "Check the address and the network.") from None
    if declared and path.stat().st_size < declared:
        raise UserError(f"Cannot fetch {address}: it ended early.", "Try again.")
    return path


def _file_name(path: str, content_type: str, suffixes: Collection[str], address: str) -> str:
    name = PurePosixPath(unquote(path)).name.replace("\\", "_") or "download"
    suffix = _SUFFIX_OF.get(content_type) or PurePosixPath(name).suffix.lower()
    if suffix not in suffixes:
        raise UserError(f"{address} is no image or video, but {content_type}.", "Give the address of a file.")
    return name if PurePosixPath(name).suffix.lower() in suffixes else name + suffix


def _save(answer: http.client.HTTPResponse, path: Path, address: str, most_bytes: int) -> None:
    ends, received = time.monotonic() + SECONDS, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while chunk := answer.read(_CHUNK):
            received += len(chunk)
            if received > most_bytes:
                raise _too_large(address, most_bytes)
            if time.monotonic() > ends:
                raise UserError(f"Fetching {address} takes longer than {SECONDS:.0f} s.", "Download it by other means.")
            file.write(chunk)


def _too_large(address: str, most_bytes: int) -> UserError:
    return UserError(f"{address} is larger than {most_bytes / 2**20:.0f} MiB.", "Download it by other means.")
