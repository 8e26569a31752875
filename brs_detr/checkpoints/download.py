"""Fetch files over http: weights, which are large and resumed after a cut, and whatever a user wants detections on."""

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
"""Seconds before each further try."""
MOST_BYTES = 10 * 10**9
"""Limit for a file of unknown size. No known weights have half of that."""
TIMEOUT = 30.0

_LEAST_DIGITS = 32  # of a checksum that cannot be met on purpose; names of PyTorch's files hold 8
_BLOCK = 1 << 18
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)


class Cut(Exception):
    """The transfer ended early or was refused for now. The reason is its text."""


class TooLarge(Exception):
    """The file has more bytes than allowed."""


def open_address(
    url: str, *, is_vouched_for: bool, headers: Mapping[str, str] | None = None, timeout: float = TIMEOUT
) -> Any:
    """Send a request, follow a few redirects to allowed addresses, and return the response.

    Args:
        url: https, or http if the file is vouched for or comes from this machine.
        is_vouched_for: whether a checksum will tell another file, or the user takes any.
        headers: of the request.
        timeout: seconds to wait for each answer.

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
        raise UserError(f"{url} is no http address: {error}.", "Check it.") from None


def _require_allowed(url: str, is_vouched_for: bool) -> None:
    """Refuse what is no http, and http that anybody on the way could answer."""
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
    """Follows a few redirects to allowed addresses, and none from https to http."""

    max_redirections = 5
    max_repeats = 2

    def __init__(self, is_vouched_for: bool) -> None:
        self.is_vouched_for = is_vouched_for

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request to make instead.

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
        file: open for writing, with what came before.
        total: bytes of the whole file; None if unknown.
        most_bytes: limit for the whole file.
        progress: called with the bytes so far and `total`.

    Raises:
        TooLarge: there are more bytes than allowed, or it is announced that there will be.
        Cut: the connection broke.
    """
    if (total or 0) > most_bytes:
        raise TooLarge
    while True:
        try:
            block = response.read(_BLOCK)
        except OSError as error:  # a route that is gone, a broken encryption: of the network, not of the disk
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
    """Return the number of bytes that a server announces, None if it does not.

    Raises:
        ValueError: it announces no number, or several.
    """
    said = {str(value).strip() for value in headers.get_all("Content-Length", [])}
    if not said:
        return None
    if len(said) > 1 or not _NUMBER.fullmatch(min(said)):
        raise ValueError(f"the server gives its length as {' and '.join(sorted(said))}")
    return int(min(said))


def _announced_rest(headers: Message, start: int) -> int:
    """Bytes of the whole file, of which those from `start` on follow.

    Raises:
        ValueError: others follow, or the server does not say which.
    """
    said = str(headers.get("Content-Range", "nothing"))
    found = _RANGE.fullmatch(said.strip())
    first, last = (int(found[1]), int(found[2])) if found else (0, -1)
    total = int(found[3]) if found and found[3] != "*" else last + 1
    length = announced_length(headers)
    if first != start or not first <= last < total or length not in (None, last + 1 - first):
        raise ValueError(f"the server was asked for the bytes from {start:,} on, and gives {said}")
    return total


def sha256_of(path: Path) -> str:
    """Return the checksum of a file."""
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
    """Fetch a large file, which is there when it is whole and not before.

    What an earlier try left is kept beside it as `NAME.partial` and resumed, unless the server has another file now.

    Args:
        url: https, or http if a checksum vouches for the file.
        target: where to put it.
        sha256: its checksum or the beginning of it; empty if unknown.
        most_bytes: limit for its size.
        insecure: take http without a checksum as well.
        console: where to show progress.
        sleep: waits for some seconds, before each further try.

    Raises:
        UserError: the address is refused, or the file cannot be fetched, is too large or a web page, or has another
            checksum.
    """
    job = _Job(url, target, insecure or len(sha256) >= _LEAST_DIGITS, most_bytes)
    _require_allowed(url, job.is_vouched_for)
    try:
        before = _version(target)
        lock = target.with_name(f".{target.name}.lock")
        with hold(lock, wait=True), counter(target.name, console, of_bytes=True) as progress:
            if _version(target) != before:
                return  # another process has fetched it meanwhile
            job.fetch(progress, console, sleep)
            found = sha256_of(job.partial)
            if not found.startswith(sha256.lower()):
                job.forget()
                raise UserError(
                    f"What {url} gave is not the file that it should be: its SHA-256 is {found}, and was to be "
                    f"{sha256}.",
                    "It was damaged on the way or replaced. Try again, or use another source.",
                )
            job.partial.replace(target)
            job.forget()
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error.strerror}.", "Make room, or choose another folder.") from None


def _version(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


class _Job:
    """A download, and what earlier tries left of it.

    `partial` holds the bytes so far, and `tag` the server's tag or date of the file that they are of.
    """

    def __init__(self, url: str, target: Path, is_vouched_for: bool, most_bytes: int) -> None:
        self.url, self.target, self.is_vouched_for, self.most_bytes = url, target, is_vouched_for, most_bytes
        self.partial = target.with_name(f"{target.name}.partial")
        self.tag = target.with_name(f"{target.name}.partial.etag")

    def fetch(
        self, progress: Callable[[int, int | None], None], console: Console, sleep: Callable[[float], None]
    ) -> None:
        """Fetch what is missing, with a few tries."""
        for pause in (*PAUSES, None):
            try:
                self._fetch_rest(progress)
                return
            except (Cut, http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
                cause = getattr(error, "reason", error)
                reason = str(cause) or type(error).__name__
                if pause is None or isinstance(cause, socket.gaierror):  # an unknown name stays unknown
                    raise self._unfetched(reason) from None
                console.print(f"{reason}; trying again in {pause:g} s")
                sleep(pause)

    def forget(self) -> None:
        """Delete what is left of it."""
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
                    f"{self.url} answers with a web page and not with the file: a sign-in, a warning, or a limit on "
                    "downloads.",
                    f"Open it in a browser, download the file, and put it there as {self.target}",
                )
            start, total = self._position(response, start, tag)
            try:
                with self.partial.open("ab" if start else "wb") as file:
                    save_response(response, file, total, self.most_bytes, progress)
            except TooLarge:
                self.forget()
                raise UserError(
                    f"{self.url} gives more than {self.most_bytes / 1e9:,.12g} GB.",
                    "If you expect so much, fetch it with `brs-detr download NAME --max-gb N`, or by other means.",
                ) from None

    def _require_whole(self, error: urllib.error.HTTPError, start: int, tag: str) -> None:
        """Return if a refusal means that all of the file is here already.

        Raises:
            Cut: the next answer may be another one.
            UserError: it will not.
        """
        if error.code == 416:
            total = error.headers.get("Content-Range", "").rpartition("/")[2]
            if start and total == str(start) and _tag_of(error) in ("", tag):
                return
            raise self._begin_anew("the file has changed on the server")
        reason = f"the server answers {error.code} {error.reason}"
        if error.code in _WORTH_ANOTHER_TRY:
            raise Cut(reason) from None
        raise self._unfetched(reason) from None

    def _position(self, response: Any, start: int, tag: str) -> tuple[int, int | None]:
        """Where in the file the answer begins, and how many bytes the file has, None if unknown.

        Raises:
            Cut: the answer does not continue what is there, which is deleted.
            UserError: the answer contradicts itself.
        """
        found = _tag_of(response)
        if response.status != 206:
            try:
                total = announced_length(response.headers)
            except ValueError as error:
                raise self._unfetched(str(error)) from None
            self.forget()  # before the new tag is written: it must not stand beside bytes of the old file
            self.tag.write_text(found, encoding="utf-8")
            return 0, total
        if found not in ("", tag):
            raise self._begin_anew("the file has changed on the server")
        try:
            return start, _announced_rest(response.headers, start)
        except ValueError as error:
            raise self._begin_anew(str(error)) from None

    def _read_tag(self) -> str:
        text = self.tag.read_text(encoding="utf-8") if self.tag.exists() else ""
        is_strong = not text.startswith("W/")  # a weak one does not vouch for bytes
        return text if is_strong and text.isascii() and text.isprintable() else ""

    def _begin_anew(self, reason: str) -> Cut:
        self.forget()
        return Cut(reason)

    def _unfetched(self, reason: str) -> UserError:
        by_hand = f"Check the network, give --mirror URL, or put the file there by hand: {self.target}"
        return UserError(f"{self.url} cannot be fetched: {reason}.", by_hand)


def _tag_of(response: Any) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
