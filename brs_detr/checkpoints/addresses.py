"""Which addresses a file may be fetched from."""

from __future__ import annotations

import ipaddress
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from brs_detr.errors import UserError


def require_allowed(url: str, is_vouched_for: bool) -> None:
    """Refuse what is no http, and http that anybody on the way could answer.

    What this machine says to itself is nobody else's to change.

    Args:
        url: an address, of a user or of a server that redirects.
        is_vouched_for: whether a checksum will tell another file, or the user takes any.

    Raises:
        UserError: it is refused.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise UserError(f"{url} is no http address.", "Check it.")
    if parts.scheme == "http" and not is_vouched_for and not _is_this_machine(host):
        raise UserError(
            f"{url} is not encrypted, and there is no checksum: anybody on the way can exchange the file.",
            "Use an https address. If you take any file, fetch it with `brs-detr download NAME --insecure`.",
        )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects as Python does them, a few at most, to allowed addresses, and none from https to http.

    Args:
        is_vouched_for: see `require_allowed`.
    """

    max_redirections = 5
    max_repeats = 2

    def __init__(self, is_vouched_for: bool) -> None:
        self.is_vouched_for = is_vouched_for

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The request to make instead.

        Raises:
            UserError: the new address is refused.
        """
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise UserError(f"{req.full_url} leads to {newurl}, which is not encrypted.", "Use another address.")
        require_allowed(newurl, self.is_vouched_for)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
