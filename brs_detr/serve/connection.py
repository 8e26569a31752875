"""HTTP connections that do not wait for ever."""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from brs_detr.serve.limits import Limits
from brs_detr.serve.refusal import error_body


class ImpatientConnection(H11Protocol):
    """Closes when the head of a request takes too long, which uvicorn would wait for; `Intake` times the rest."""

    head_seconds = Limits.receive_seconds
    max_connections = Limits.max_connections
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._set_clock()

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        super().data_received(data)
        self._set_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_clock()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Say in JSON that this is no HTTP."""
        body = json.dumps(error_body(msg, "Talk HTTP/1.1 to this port.")).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-content-type-options", "nosniff"),
            ("connection", "close"),
        ]
        try:
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # an answer is on its way already
            pass
        self.transport.close()

    def _set_clock(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_clock()
        elif self._clock is None:
            self._clock = self.loop.call_later(self.head_seconds, self.timeout_keep_alive_handler)
            self._make_room()

    def _make_room(self) -> None:
        """Close the connection that has waited longest, where too many wait."""
        others = [other for other in self.connections if isinstance(other, ImpatientConnection)]
        clocks = {other: other._clock.when() for other in others if other._clock is not None}
        if len(clocks) > self.max_connections:
            oldest = min(clocks, key=clocks.__getitem__)
            oldest._stop_clock()
            oldest.timeout_keep_alive_handler()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
