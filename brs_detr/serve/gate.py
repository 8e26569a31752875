"""Who may talk to the server, and what a browser may do with its answers."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brs_detr.serve.refusal import error_response

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Gate:
    """Refuses requests that another site makes through a user's browser, and sets security headers.

    Args:
        app: what answers the others.
        hosts: names that a request may be for, without a port. A page of another site can point a name of its own at
            this machine (DNS rebinding) and would then count as the same site. None allows any name.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None = None) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope["method"], Headers(scope=scope))
        answer = self.app if refused is None else error_response(403, *refused)
        await answer(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> tuple[str, str] | None:
        hosts = headers.getlist("host")
        if self.hosts is not None and (len(hosts) != 1 or _without_port(hosts[0]) not in self.hosts):
            return "This server answers requests to this machine only.", "Open it at the address that it printed."
        if method not in _SAFE_METHODS and not _is_same_site(headers):
            return "The request comes from a page of another site.", "Use the page of this server, or no browser."
        return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _is_same_site(headers: Headers) -> bool:
    """Browsers say where a request comes from; other clients say nothing."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")
