"""Receive the body of a request, split forms, and decode images, all in memory."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from starlette.requests import Request

from brs_detr.runtime.images import NO_IMAGE, TooLargeImage, UnreadableImage, open_image, read_file
from brs_detr.serve.limits import MEGABYTE, Limits, Refusal

if TYPE_CHECKING:
    from PIL.Image import Image
    from python_multipart.multipart import Field, File

MAX_NAME_LENGTH = 255  # characters, as on most file systems
RAW_NAME = "image"
"""Name of an image that is the whole body of a request."""

_DRAINED = 10  # times the limit is read and discarded, since clients read no response before they have sent all
_GRACE_SECONDS = 1.0  # before a client may count as slow
_EXAMPLE = "For example: curl -F file=@street.jpg URL."
_MAX_ASPECT_RATIO = 100  # a panorama has 20
_FORMATS = "JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, JPEG 2000 and AVIF"


@dataclass(frozen=True)
class Upload:
    """A file from a client: its bytes, and its name, which is only shown and never opened as a path."""

    name: str
    content: bytes

    @property
    def title(self) -> str:
        """The subject of a sentence about the file."""
        return "The image" if self.name == RAW_NAME else self.name


@dataclass(eq=False)
class _Arrival:
    """A body that is being received."""

    scope: anyio.CancelScope
    started: float = field(default_factory=time.monotonic)
    num_bytes: int = 0
    is_dropped: bool = False

    @property
    def pace(self) -> float:
        """Bytes per second; infinite in the first moments."""
        seconds = time.monotonic() - self.started
        return self.num_bytes / seconds if seconds > _GRACE_SECONDS else float("inf")


class Intake:
    """Receives the bodies of requests into limited memory. If it is full, the slowest client is dropped.

    Args:
        limits: the memory holds ``max_requests`` bodies of ``max_bytes``.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._arrivals: list[_Arrival] = []
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Receive the whole body; its memory counts as used until the context ends.

        Bytes are counted as they arrive. `Content-Length` is only used to refuse early.

        Raises:
            Refusal: 413 for too many bytes, 408 if they are too slow, 503 if the memory is full.
            ClientDisconnect: the client has closed the connection.
        """
        content = await self._receive(request)
        try:
            yield content
        finally:
            self._held -= len(content)

    async def _receive(self, request: Request) -> bytes:
        limits = self.limits
        too_large = Refusal(
            413,
            f"The upload is larger than {limits.max_bytes / MEGABYTE:g} MB.",
            "Send fewer or smaller images, or start the server with a larger --max-upload-mb.",
        )
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limits.max_bytes and "expect" in request.headers:
            raise too_large  # the client waits for permission to send
        body, num_bytes = bytearray(), 0
        with anyio.move_on_after(limits.receive_seconds) as scope:
            arrival = _Arrival(scope)
            self._arrivals.append(arrival)
            try:
                self._make_room()
                async for chunk in request.stream():
                    num_bytes += len(chunk)
                    if num_bytes <= limits.max_bytes:
                        body += chunk
                        self._held += len(chunk)
                        arrival.num_bytes += len(chunk)
                        self._make_room()
                    elif num_bytes > _DRAINED * limits.max_bytes:
                        break
                if num_bytes <= limits.max_bytes and not arrival.is_dropped:
                    self._held += len(body)  # until `body` ends; `finally` subtracts the arrival
                    return bytes(body)
            finally:
                self._arrivals.remove(arrival)
                self._held -= arrival.num_bytes
        if num_bytes > limits.max_bytes:
            raise too_large
        if arrival.is_dropped:
            raise Refusal(503, "The server is busy, and the upload came in slowly.", "Send it again in a while.")
        raise Refusal(408, f"The upload did not arrive within {limits.receive_seconds:g} seconds.", "Send it again.")

    def _make_room(self) -> None:
        room = self.limits.max_requests * self.limits.max_bytes
        waiting = [arrival for arrival in self._arrivals if not arrival.is_dropped]
        if waiting and (self._held > room or len(waiting) > self.limits.max_connections):
            slowest = min(reversed(waiting), key=lambda arrival: arrival.pace)  # of equally slow ones, the last
            slowest.is_dropped = True
            slowest.scope.cancel()


def split_form(body: bytes, content_type: str, max_images: int) -> list[Upload]:
    """Split a multipart form into its files, in memory.

    Args:
        body: whole body of the request.
        content_type: content type of the request, with the boundary.
        max_images: limit for the number of files.

    Returns:
        At least one file, in the order of the form.

    Raises:
        Refusal: 400 for a form that is malformed, truncated, empty, or has other fields than files, and for an invalid
            file name; 413 for too many files.
    """
    from python_multipart import FormParser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Refusal(400, "The Content-Type names no boundary between the parts of the form.", _EXAMPLE)
    uploads: list[Upload] = []
    ends: list[bool] = []

    def add_file(file: File) -> None:
        if len(uploads) == max_images:
            raise Refusal(
                413,
                f"The form has more than {max_images} files.",
                "Send fewer at a time, or start the server with a larger --max-images.",
            )
        assert isinstance(file.file_object, io.BytesIO)  # because of MAX_MEMORY_FILE_SIZE
        uploads.append(Upload(file_name(file.file_name or b""), file.file_object.getvalue()))

    def refuse_field(_: Field) -> None:
        raise Refusal(
            400,
            "The form has a field that is not a file.",
            "Send only files; the threshold belongs in the address, as in /api/detect?threshold=0.5.",
        )

    settings = {"MAX_MEMORY_FILE_SIZE": float("inf")}
    try:
        parser = FormParser(
            "multipart/form-data", refuse_field, add_file, lambda: ends.append(True), boundary, config=settings
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, KeyError) as error:  # KeyError: a part without a name, in older versions
        raise Refusal(400, f"The multipart form is malformed: {error}.", _EXAMPLE) from None
    if not ends:
        raise Refusal(400, "The multipart form is truncated: its last boundary is missing.", "Send it again, whole.")
    if not uploads:
        raise Refusal(400, "The form has no file.", _EXAMPLE)
    return uploads


def file_name(raw: bytes) -> str:
    """Decode and check the name of a file.

    Raises:
        Refusal: 400 for a name that is empty, too long, not UTF-8, or has parts of a path or control characters.
    """
    hint = f"Give it a name of 1 to {MAX_NAME_LENGTH} printable characters without / and \\."
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, "A file name is not UTF-8.", hint) from None
    if not name:
        raise Refusal(400, "A file has no name.", hint)
    if len(name) > MAX_NAME_LENGTH:
        raise Refusal(400, f"A file name has {len(name)} characters.", hint)
    if not name.isprintable():
        raise Refusal(400, "A file name has control characters.", hint)
    if name in (".", "..") or "/" in name or "\\" in name:
        raise Refusal(400, "A file name has parts of a path.", hint)
    return name


def check_image(upload: Upload, max_pixels: int) -> None:
    """Check the header of an image, so that a bad upload is refused before any work is done.

    Raises:
        Refusal: 415 if it is not an image of a known format, 422 if it is empty, damaged, too large or too long.
    """
    if not upload.content:
        raise Refusal(422, f"{upload.title} is empty.", "Send the file again, whole.")
    try:
        with open_image(upload.title, upload.content) as image:
            width, height = image.size
    except TooLargeImage:
        raise _too_large(upload, "", max_pixels) from None
    except UnreadableImage as error:
        raise _unreadable(upload, error) from error
    if width * height > max_pixels:
        raise _too_large(upload, f" ({width} x {height})", max_pixels)
    if max(width, height) > _MAX_ASPECT_RATIO * min(width, height):  # resized, nothing would be left of its width
        raise Refusal(
            422,
            f"{upload.title} is a strip of {width} x {height} pixels.",
            f"Cut it into pieces that are at most {_MAX_ASPECT_RATIO} times as long as wide.",
        )


def decode_image(upload: Upload, max_pixels: int) -> Image:
    """Decode an image to RGB, upright; of an animation, the first frame.

    Raises:
        Refusal: see `check_image`; also 422 if the image is damaged behind its header.
    """
    from PIL import Image

    check_image(upload, max_pixels)
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
        return Refusal(415, f"{upload.title} is in no known format.", f"Known formats: {_FORMATS}.")
    return Refusal(422, f"{upload.title} cannot be read: {error.reason}.", "Send it again, whole, as a JPEG or PNG.")
