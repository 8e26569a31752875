"""How much a client may ask for."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Bounds on what a request holds, so that memory and time are bounded too.

    Args:
        max_bytes: of the body of a request, all its images together.
        max_images: in a request.
        max_pixels: of an image, width times height; checked before it is decoded.
        max_requests: whose images are held in memory at a time; the others wait, unread.
        receive_seconds: in which the head of a request, and then its body, must have come in.
    """

    max_bytes: int = 20 * MEGABYTE
    max_images: int = 16
    max_pixels: int = 50_000_000
    max_requests: int = 8
    receive_seconds: float = 30.0
