"""Take in the bodies of requests: counted while they come, in time, and never more than there is room for."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from starlette.requests import Request

from brs_detr.serve.limits import MEGABYTE, Limits
from brs_detr.serve.refusal import Refusal

_DRAINED = 10  # times the limit is read and thrown away, for a client reads no answer before all is sent
_GRACE_SECONDS = 1.0  # before a client counts as slow


@dataclass(eq=False)
class _Arrival:
    """A body on its way in."""

    scope: anyio.CancelScope
    started: float = field(default_factory=time.monotonic)
    num_bytes: int = 0
    gives_way: bool = False

    @property
    def pace(self) -> float:
        """Bytes a second; of one that has only just begun, as if it had been fast."""
        seconds = time.monotonic() - self.started
        return self.num_bytes / seconds if seconds > _GRACE_SECONDS else float("inf")


class Intake:
    """Room for the bodies of requests. Where it is full, the slowest client gives way.

    Args:
        limits: of one body, and of how many there are; there is room for ``max_requests`` of the largest.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._arrivals: list[_Arrival] = []
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, in memory; its room is kept until the context ends.

        What `Content-Length` says is believed only when it is too much; otherwise the bytes are counted.

        Raises:
            Refusal: 413 for too many bytes, 408 for too slow ones, 503 where there is no room.
            ClientDisconnect: there is nobody left to answer.
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
            raise too_large  # the client asks before it sends
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
                if num_bytes <= limits.max_bytes and not arrival.gives_way:
                    self._held += len(body)  # now it is the caller's
                    return bytes(body)
            finally:
                self._arrivals.remove(arrival)
                self._held -= arrival.num_bytes
        if num_bytes > limits.max_bytes:
            raise too_large
        if arrival.gives_way:
            raise Refusal(503, "The server is busy, and the upload came in slowly.", "Send it again in a while.")
        raise Refusal(408, f"The upload did not arrive within {limits.receive_seconds:g} seconds.", "Send it again.")

    def _make_room(self) -> None:
        room = self.limits.max_requests * self.limits.max_bytes
        waiting = [arrival for arrival in self._arrivals if not arrival.gives_way]
        if waiting and (self._held > room or len(waiting) > self.limits.max_connections):
            slowest = min(reversed(waiting), key=lambda arrival: arrival.pace)  # of equals, who came last
            slowest.gives_way = True
            slowest.scope.cancel()
