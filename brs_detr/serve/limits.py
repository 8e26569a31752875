"""Limits for requests, and refusals of requests."""

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
    """Limits for the memory and time of requests.

    Args:
        max_bytes: size of a request's body, for all its images together.
        max_images: number of images per request.
        max_pixels: width times height of an image; checked before decoding.
        max_requests: number of received requests that wait for the detector; later ones wait and then give up.
        receive_seconds: time for the head of a request, for its body, and for its wait, each.
        seconds: time of the detector per request; beyond it, its process is killed.
        max_memory: memory of the detector's process in bytes; beyond it, the process is killed.
        max_connections: number of connections that wait for a head, and of bodies that arrive, at a time; the slowest
            are dropped.
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
    """A refused request.

    Args:
        status: HTTP status, such as 413.
        message: what is wrong, with the name of the file.
        hint: what the client can do about it.
    """

    def __init__(self, status: int, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return Refusal, (self.status, self.message, self.hint)


def error_body(message: str, hint: str | None) -> dict[str, dict[str, str | None]]:
    """Return ``{"error": {"message": ..., "cure": ...}}``."""
    return {"error": {"message": message, "cure": hint}}


def error_response(
    status: int, message: str, hint: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Make the response to a refused request. It closes the connection, since part of the request may be unread."""
    return JSONResponse(error_body(message, hint), status, {"Connection": "close", **(headers or {})})
