"""Listen at an address, and answer until Ctrl-C."""

from __future__ import annotations

import errno
import ipaddress
import logging
import signal
import socket

from brs_detr.errors import UserError

_WHY = {
    errno.EADDRINUSE: ("is in use", "Stop what uses it, or choose another --port; --port 0 finds a free one."),
    errno.EACCES: ("is reserved", "Choose a --port of 1024 or more."),
    errno.EADDRNOTAVAIL: ("does not belong to this machine", "Use --host 127.0.0.1, or --host 0.0.0.0 for all."),
}
_GRACE_SECONDS = 3


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on, although nobody answers them yet.

    Args:
        host: name or address of this machine.
        port: 0 for any free one.

    Raises:
        UserError: there is no such host, or the port cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise UserError(f"--host {host}: there is no such host.", "Use --host 127.0.0.1 for this machine.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where SO_REUSEADDR would share a port in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port left a moment ago
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        what, cure = _WHY.get(error.errno or 0, (f"cannot be used ({error.strerror})", "Choose another --port."))
        raise UserError(f"{_join(str(address[0]), port)} {what}.", cure) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL to open, on this machine, for a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"http://{_join({'0.0.0.0': '127.0.0.1', '::': '::1'}.get(host, host), port)}"


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine can reach a socket."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def local_names(listener: socket.socket, host: str) -> frozenset[str]:
    """By which this machine may call a socket that only it can reach, as `Host` has them."""
    address = _join(listener.getsockname()[0], 0).removesuffix(":0")
    return frozenset({"localhost", "127.0.0.1", "[::1]", address, host.lower()})


def run_until_interrupted(app: object, listener: socket.socket) -> signal.Signals | None:
    """Answer requests until Ctrl-C or SIGTERM; what is in work then is given a few seconds to finish.

    Args:
        app: an ASGI application.
        listener: from `listen`; closed at the end.

    Returns:
        The signal by which the process should end, once all else is done; None for Ctrl-C.
    """
    import uvicorn

    from brs_detr.serve.connection import ImpatientConnection

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of whatever clients send
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
    # uvicorn passes signals on when it has ended; by its own action SIGTERM would come before the last answers.
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
