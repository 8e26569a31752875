"""What a client may ask for, and the answer if it asks for more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from brs_detr.errors import UserError

MEGABYTE = 1_000_000
GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """Bounds on the memory and time of a request.

    Args:
        max_bytes: size of the body, all images of a request together.
        max_images: images in a request.
        max_pixels: width times height of an image; checked before it is decoded.
        max_requests: requests with images in memory that wait for the detector; others wait outside, and give up.
        receive_seconds: time for the head of a request, then for its body, then for its wait outside.
        seconds: time of the detector for a request; then its process is ended.
        max_memory: bytes that the process of the detector may hold; then it is ended.
        max_connections: connections that may wait for a head, and bodies that may arrive, at a time; the slowest give
            way.
    """

    max_bytes: int = 20 * MEGABYTE
    max_images: int = 16
    max_pixels: int = 50_000_000
    max_requests: int = 8
    receive_seconds: float = 30.0
    seconds: float = 60.0
    max_memory: float = float("inf")
    max_connections: int = 200


class Refusal(UserError):
    """A request that cannot be answered as it is.

    Args:
        status: HTTP status, such as 413.
        message: what is wrong, naming the file.
        cure: what the client can do about it.
    """

    def __init__(self, status: int, message: str, cure: str | None = None) -> None:
        super().__init__(message, cure)
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return Refusal, (self.status, self.message, self.hint)


def error_body(message: str, cure: str | None) -> dict[str, dict[str, str | None]]:
    """``{"error": {"message": ..., "cure": ...}}``."""
    return {"error": {"message": message, "cure": cure}}


def error_response(
    status: int, message: str, cure: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer to a refused request. It closes the connection: the rest of the request may be unread."""
    return JSONResponse(error_body(message, cure), status, {"Connection": "close", **(headers or {})})
