"""Listen at an address, serve until Ctrl-C, and close connections that are too slow."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import logging
import signal
import socket

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from brs_detr.errors import UserError
from brs_detr.serve.limits import Limits, error_body

_BIND_ERRORS = {
    errno.EADDRINUSE: (
        "is in use",
        "Stop what uses it, or choose another --port; --port 0 finds a free one.",
    ),
    errno.EACCES: ("is reserved", "Choose a --port of 1024 or more."),
    errno.EADDRNOTAVAIL: ("does not belong to this machine", "Use --host 127.0.0.1, or --host 0.0.0.0 for all."),
}
_GRACE_SECONDS = 3


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that accepts connections.

    Args:
        host: name or address of this machine.
        port: port; 0 for any free one.

    Raises:
        UserError: there is no such host, or the port cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise UserError(f"--host {host}: there is no such host.", "Use --host 127.0.0.1 for this machine.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # on Windows, SO_REUSEADDR would share a port in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was closed a moment ago
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        other = (f"cannot be used ({error.strerror})", "Choose another --port.")
        reason, hint = _BIND_ERRORS.get(error.errno or 0, other)
        raise UserError(f"{_join(str(address[0]), port)} {reason}.", hint) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket on this machine."""
    host, port = listener.getsockname()[:2]
    return f"http://{_join({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host), port)}"


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine can reach a socket."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def local_names(listener: socket.socket, host: str) -> frozenset[str]:
    """Return the host names by which this machine may address a local socket, as in `Host` headers."""
    address = _join(listener.getsockname()[0], 0).removesuffix(":0")
    return frozenset({"localhost", "127.0.0.1", "[::1]", address, host.lower()})


def run_until_interrupted(app: object, listener: socket.socket) -> signal.Signals | None:
    """Serve until Ctrl-C or SIGTERM; requests in progress then have a few seconds to finish.

    Args:
        app: an ASGI application.
        listener: from `listen`; closed at the end.

    Returns:
        The signal that the process should raise after its cleanup; None for Ctrl-C.
    """
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of malformed requests
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=ImpatientConnection,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    # uvicorn re-raises signals when it has finished; without a handler, SIGTERM would kill the process before cleanup
    ending: list[signal.Signals] = []
    previous = signal.signal(signal.SIGTERM, lambda *_: ending.append(signal.SIGTERM))
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, previous)
        listener.close()
    return ending[0] if ending else None


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class ImpatientConnection(H11Protocol):
    """Closes if the head of a request takes too long, for which uvicorn has no limit; `Intake` times the body."""

    head_seconds = Limits.receive_seconds
    max_connections = Limits.max_connections
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock for the first request."""
        super().connection_made(transport)
        self._set_clock()

    def data_received(self, data: bytes) -> None:
        """Process data, and stop the clock if the head is complete."""
        super().data_received(data)
        self._set_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer data that are not HTTP with an error in JSON."""
        body = json.dumps(error_body(msg, "Use HTTP/1.1 on this port.")).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-content-type-options", "nosniff"),
            ("connection", "close"),
        ]
        try:
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # a response has already begun
            pass
        self.transport.close()

    def _set_clock(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_clock()
        elif self._clock is None:
            self._clock = self.loop.call_later(self.head_seconds, self.timeout_keep_alive_handler)
            self._make_room()

    def _make_room(self) -> None:
        """Close the connection that has waited longest if too many wait."""
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
