"""Download files over http, with safe redirects, size limits, checksums, and resumption of interrupted downloads."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.run.console import counter
from brs_detr.run.locks import hold

PAUSES = (1.0, 3.0, 10.0, 30.0)
"""Seconds before each retry."""
MOST_BYTES = 10 * 10**9
"""Limit for a file of unknown size. No known weights have half of that."""
TIMEOUT = 30.0
"""Seconds to wait for a response."""

_MIN_DIGITS = 32  # of a checksum that cannot be forged; names of PyTorch's files contain 8
_BLOCK = 1 << 18
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)


class Cut(Exception):
    """The transfer ended early or was refused temporarily, for the reason in the message."""


class TooLarge(Exception):
    """The file has more bytes than allowed."""


def open_address(
    url: str, *, is_vouched_for: bool, headers: Mapping[str, str] | None = None, timeout: float = TIMEOUT
) -> Any:
    """Send a request, follow a few redirects to allowed addresses, and return the response.

    Args:
        url: https address; http is allowed if the file is vouched for or comes from this machine.
        is_vouched_for: whether a checksum will detect another file, or the user accepts any.
        headers: headers of the request.
        timeout: seconds to wait for each response.

    Raises:
        UserError: the address, or one that it redirects to, is refused.
        OSError, http.client.HTTPException: the network or the server fails.
    """
    _require_allowed(url, is_vouched_for)
    headers = {"User-Agent": "brs-detr", "Accept-Encoding": "identity", **(headers or {})}
    try:
        request = urllib.request.Request(url, headers=headers)
        return urllib.request.build_opener(SafeRedirects(is_vouched_for)).open(request, timeout=timeout)
    except (http.client.InvalidURL, ValueError) as error:
        raise UserError(f"{url} is not an http address: {error}.", "Check it.") from None


def _require_allowed(url: str, is_vouched_for: bool) -> None:
    """Refuse addresses that are not http, and http if anybody on the way could replace the file."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise UserError(f"{url} is not an http address.", "Check it.")
    if parts.scheme == "http" and not is_vouched_for and not _is_this_machine(host):
        raise UserError(
            f"{url} is not encrypted, and there is no checksum: anybody on the way can replace the file.",
            "Use an https address. If you accept that, use `brs-detr download NAME --insecure`.",
        )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects to allowed addresses, but none from https to http."""

    max_redirections = 5
    max_repeats = 2

    def __init__(self, is_vouched_for: bool) -> None:
        self.is_vouched_for = is_vouched_for

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the redirected request.

        Raises:
            UserError: the new address is refused.
        """
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise UserError(f"{req.full_url} leads to {newurl}, which is not encrypted.", "Use another address.")
        _require_allowed(newurl, self.is_vouched_for)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def save_response(
    response: Any, file: IO[bytes], total: int | None, most_bytes: int, progress: Callable[[int, int | None], None]
) -> None:
    """Append a response to a file.

    Args:
        response: from `open_address`.
        file: open file with the bytes before the response.
        total: size of the whole file in bytes; None if unknown.
        most_bytes: limit for the whole file.
        progress: called with the bytes so far and `total`.

    Raises:
        TooLarge: the file is larger than the limit.
        Cut: the connection broke.
    """
    if (total or 0) > most_bytes:
        raise TooLarge
    while True:
        try:
            block = response.read(_BLOCK)
        except OSError as error:  # network errors; errors of the disk pass
            raise Cut(f"the connection broke: {error}") from None
        if not block:
            break
        file.write(block)
        if file.tell() > most_bytes:
            raise TooLarge
        progress(file.tell(), total)
    if total is not None and file.tell() != total:
        raise Cut(f"the connection ended after {file.tell():,} of {total:,} bytes")


def announced_length(headers: Message) -> int | None:
    """Return the size that a server announces; None if it does not.

    Raises:
        ValueError: the size is not a number, or there are several.
    """
    lengths = {str(value).strip() for value in headers.get_all("Content-Length", [])}
    if not lengths:
        return None
    if len(lengths) > 1 or not _NUMBER.fullmatch(min(lengths)):
        raise ValueError(f"the server gives its length as {' and '.join(sorted(lengths))}")
    return int(min(lengths))


def _announced_rest(headers: Message, start: int) -> int:
    """Return the size of the whole file, of which a response has the bytes from `start` on.

    Raises:
        ValueError: the response has other bytes, or does not say which.
    """
    text = str(headers.get("Content-Range", "nothing"))
    content_range = _RANGE.fullmatch(text.strip())
    first, last = (int(content_range[1]), int(content_range[2])) if content_range else (0, -1)
    total = int(content_range[3]) if content_range and content_range[3] != "*" else last + 1
    length = announced_length(headers)
    if first != start or not first <= last < total or length not in (None, last + 1 - first):
        raise ValueError(f"the server was asked for the bytes from {start:,} on, and sends {text}")
    return total


def sha256_of(path: Path) -> str:
    """Return the SHA-256 checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    most_bytes: int = MOST_BYTES,
    insecure: bool = False,
    console: Console,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Download a large file, which appears only when it is complete.

    An interrupted download is kept as `NAME.partial` and resumed, unless the file on the server has changed.

    Args:
        url: https address, or http if there is a checksum.
        target: path for the file.
        sha256: checksum of the file or its first digits; empty if unknown.
        most_bytes: limit for the size of the file.
        insecure: allow http without a checksum.
        console: shows progress.
        sleep: waits for some seconds before a retry.

    Raises:
        UserError: the address is refused, or the file cannot be downloaded, is too large or a web page, or has another
            checksum.
    """
    job = _Job(url, target, insecure or len(sha256) >= _MIN_DIGITS, most_bytes)
    _require_allowed(url, job.is_vouched_for)
    try:
        before = _version(target)
        lock = target.with_name(f".{target.name}.lock")
        with hold(lock, wait=True), counter(target.name, console, of_bytes=True) as progress:
            if _version(target) != before:
                return  # another process has downloaded it in the meantime
            job.fetch(progress, console, sleep)
            found = sha256_of(job.partial)
            if not found.startswith(sha256.lower()):
                job.forget()
                raise UserError(
                    f"{url} is not the expected file: its SHA-256 is {found}, not {sha256}.",
                    "It was damaged on the way or replaced. Try again, or use another source.",
                )
            job.partial.replace(target)
            job.forget()
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error.strerror}.", "Make room, or choose another folder.") from None


def _version(path: Path) -> tuple[int, int] | None:
    """Return values that change when a file is replaced; None without a file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


class _Job:
    """A download and the remains of earlier tries: `partial` has the bytes so far, `tag` the file's ETag or date."""

    def __init__(self, url: str, target: Path, is_vouched_for: bool, most_bytes: int) -> None:
        self.url, self.target, self.is_vouched_for, self.most_bytes = url, target, is_vouched_for, most_bytes
        self.partial = target.with_name(f"{target.name}.partial")
        self.tag = target.with_name(f"{target.name}.partial.etag")

    def fetch(
        self, progress: Callable[[int, int | None], None], console: Console, sleep: Callable[[float], None]
    ) -> None:
        """Download what is missing, with a few retries."""
        for pause in (*PAUSES, None):
            try:
                self._fetch_rest(progress)
                return
            except (Cut, http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
                cause = getattr(error, "reason", error)
                reason = str(cause) or type(error).__name__
                if pause is None or isinstance(cause, socket.gaierror):  # an unknown host remains unknown
                    raise self._failure(reason) from None
                console.print(f"{reason}; trying again in {pause:g} s")
                sleep(pause)

    def forget(self) -> None:
        """Delete the remains."""
        self.partial.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)

    def _fetch_rest(self, progress: Callable[[int, int | None], None]) -> None:
        tag = self._read_tag()
        start = self.partial.stat().st_size if tag and self.partial.exists() else 0
        headers = {"Range": f"bytes={start}-", "If-Range": tag} if start else {}
        try:
            response = open_address(self.url, is_vouched_for=self.is_vouched_for, headers=headers)
        except urllib.error.HTTPError as error:
            self._require_whole(error, start, tag)
            return
        with response:
            if response.headers.get_content_type() == "text/html":
                raise UserError(
                    f"{self.url} responds with a web page and not with the file: a sign-in, a warning, or a limit on "
                    "downloads.",
                    f"Open it in a browser, download the file, and save it as {self.target}",
                )
            start, total = self._position(response, start, tag)
            try:
                with self.partial.open("ab" if start else "wb") as file:
                    save_response(response, file, total, self.most_bytes, progress)
            except TooLarge:
                self.forget()
                raise UserError(
                    f"{self.url} has more than {self.most_bytes / 1e9:,.12g} GB.",
                    "If you expect that, use `brs-detr download NAME --max-gb N`, or download it by other means.",
                ) from None

    def _require_whole(self, error: urllib.error.HTTPError, start: int, tag: str) -> None:
        """Return if an error response means that the file is complete already.

        Raises:
            Cut: a retry may help.
            UserError: a retry will not help.
        """
        if error.code == 416:
            total = error.headers.get("Content-Range", "").rpartition("/")[2]
            if start and total == str(start) and _tag_of(error) in ("", tag):
                return
            raise self._restart("the file has changed on the server")
        reason = f"the server responds with {error.code} {error.reason}"
        if error.code in _TEMPORARY:
            raise Cut(reason) from None
        raise self._failure(reason) from None

    def _position(self, response: Any, start: int, tag: str) -> tuple[int, int | None]:
        """Return the position in the file at which a response begins, and the size of the file, None if unknown.

        Raises:
            Cut: the response does not continue the earlier bytes, which are deleted.
            UserError: the response contradicts itself.
        """
        new_tag = _tag_of(response)
        if response.status != 206:
            try:
                total = announced_length(response.headers)
            except ValueError as error:
                raise self._failure(str(error)) from None
            self.forget()  # before writing the new tag, which must not remain beside bytes of the old file
            self.tag.write_text(new_tag, encoding="utf-8")
            return 0, total
        if new_tag not in ("", tag):
            raise self._restart("the file has changed on the server")
        try:
            return start, _announced_rest(response.headers, start)
        except ValueError as error:
            raise self._restart(str(error)) from None

    def _read_tag(self) -> str:
        text = self.tag.read_text(encoding="utf-8") if self.tag.exists() else ""
        is_strong = not text.startswith("W/")  # weak tags do not identify bytes
        return text if is_strong and text.isascii() and text.isprintable() else ""

    def _restart(self, reason: str) -> Cut:
        self.forget()
        return Cut(reason)

    def _failure(self, reason: str) -> UserError:
        hint = f"Check the network, give --mirror URL, or put the file there by hand: {self.target}"
        return UserError(f"{self.url} cannot be downloaded: {reason}.", hint)


def _tag_of(response: Any) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
