"""Fetch a large file: go on after a cut, try again, and keep nothing that is not whole."""

from __future__ import annotations

import hashlib
import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from brs_detr.engine.file_lock import hold
from brs_detr.errors import UserError
from brs_detr.printable import short_name

PAUSES = (1.0, 3.0, 10.0, 30.0)
"""Seconds before each further try."""

TIMEOUT = 30.0
_BLOCK = 1 << 18
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)
_BY_HAND = "Check the network, give --mirror URL, or put the file there by hand: {}"


class _Cut(Exception):
    """The transfer ended early or was refused for now; the reason is its text."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects as Python does them, a few at most, and none from https to http."""

    max_redirections = 5
    max_repeats = 2

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise UserError(f"{req.full_url} leads to {newurl}, which is not encrypted.", "Use another address.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    console: Console,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch a file; it is there when it is whole, and not before.

    What an earlier try left is kept beside it as `NAME.partial` and continued, unless the server has another file now.

    Args:
        url: http or https.
        target: where to put it.
        sha256: what its checksum must be, or the beginning of it; empty if that is not known.
        console: where progress is shown.
        sleep: waits for some seconds, before each further try.

    Raises:
        UserError: it cannot be fetched, is a web page, or has another checksum.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url} is no http address.", "Check it.")
    partial = target.with_name(f"{target.name}.partial")
    try:
        before = _version(target)
        with hold(target.with_name(f".{target.name}.lock"), wait=True), _bar(target.name, console) as progress:
            if _version(target) != before:
                return  # another process has fetched it meanwhile
            _fetch_all(url, partial, progress, console, sleep)
            _check(url, partial, sha256)
            partial.replace(target)
            _forget(partial)
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error.strerror}.", "Make room, or choose another folder.") from None


def sha256_of(path: Path) -> str:
    """Checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _version(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _fetch_all(
    url: str,
    partial: Path,
    progress: Callable[[int, int | None], None],
    console: Console,
    sleep: Callable[[float], None],
) -> None:
    for pause in (*PAUSES, None):
        try:
            _fetch_rest(url, partial, progress)
            return
        except (_Cut, http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
            cause = getattr(error, "reason", error)
            reason = str(cause) or type(error).__name__
            if pause is None or isinstance(cause, socket.gaierror):  # a name that is not known is not known in 30 s
                raise UserError(
                    f"{url} cannot be fetched: {reason}.", _BY_HAND.format(partial.with_suffix(""))
                ) from None
            console.print(f"{reason}; trying again in {pause:g} s")
            sleep(pause)


def _fetch_rest(url: str, partial: Path, progress: Callable[[int, int | None], None]) -> None:
    """Fetch what is missing of a file."""
    start = partial.stat().st_size if partial.exists() else 0
    validator = _read_validator(partial)
    headers = {"User-Agent": "brs-detr", "Accept-Encoding": "identity"}
    if start and validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    opener = urllib.request.build_opener(_SafeRedirects)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
            return  # all of it was there already
        if error.code == 416:  # it is shorter now than what we have of it
            _forget(partial)
            raise _Cut("the file has changed on the server") from None
        if error.code in _WORTH_ANOTHER_TRY:
            raise _Cut(f"the server answers {error.code} {error.reason}") from None
        raise UserError(
            f"{url} cannot be fetched: the server answers {error.code} {error.reason}.",
            _BY_HAND.format(partial.with_suffix("")),
        ) from None
    with response:
        if response.headers.get_content_type() == "text/html":
            raise UserError(
                f"{url} answers with a web page and not with the file: a sign-in, a warning, or a limit on downloads.",
                f"Open it in a browser, download the file, and put it there as {partial.with_suffix('')}",
            )
        is_rest = response.status == 206
        length = response.headers.get("Content-Length")
        total = (start if is_rest else 0) + int(length) if length else None
        _write_validator(partial, response.headers.get("ETag") or response.headers.get("Last-Modified") or "")
        with partial.open("ab" if is_rest else "wb") as file:
            while block := _read(response):
                file.write(block)
                progress(file.tell(), total)
            size = file.tell()
    if total is not None and size != total:
        raise _Cut(f"the connection ended after {size:,} of {total:,} bytes")


def _read(response: Any) -> bytes:
    try:
        block: bytes = response.read(_BLOCK)
    except OSError as error:  # a route that is gone, a broken encryption: of the network, not of the disk
        raise _Cut(f"the connection broke: {error}") from None
    return block


def _check(url: str, partial: Path, sha256: str) -> None:
    found = sha256_of(partial)
    if not found.startswith(sha256.lower()):
        _forget(partial)
        raise UserError(
            f"What {url} gave is not the file that it should be: its SHA-256 is {found}, and was to be {sha256}.",
            "It was damaged on the way or replaced. Try again, or use another source.",
        )


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _validator_file(partial).unlink(missing_ok=True)


def _validator_file(partial: Path) -> Path:
    """What tells whether the file on the server is still the one that was begun."""
    return partial.with_name(f"{partial.name}.etag")


def _read_validator(partial: Path) -> str:
    file = _validator_file(partial)
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return "" if text.startswith("W/") else text  # a weak one does not vouch for bytes


def _write_validator(partial: Path, text: str) -> None:
    _validator_file(partial).write_text(text, encoding="utf-8")


@contextmanager
def _bar(what: str, console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """A bar of bytes on a terminal; silence elsewhere."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(short_name(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
