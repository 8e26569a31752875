"""How much a client may ask for."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Bounds on what a request holds and costs, so that memory and time are bounded too.

    Args:
        max_bytes: of the body of a request, all its images together.
        max_images: in a request.
        max_pixels: of an image, width times height; checked before it is decoded.
        max_requests: whose images wait for the detector at a time; others wait outside, and give up in the end.
        receive_seconds: in which the head of a request, and then its body, must have come in; and for which a request
            waits outside.
        seconds: that the detector works for a request, after which it is ended.
        max_memory: bytes that the process of the detector may hold, beyond which it is ended.
        max_connections: that are waited for at a time, for heads and for bodies; the slowest give way.
    """

    max_bytes: int = 20 * MEGABYTE
    max_images: int = 16
    max_pixels: int = 50_000_000
    max_requests: int = 8
    receive_seconds: float = 30.0
    seconds: float = 60.0
    max_memory: float = float("inf")
    max_connections: int = 200
