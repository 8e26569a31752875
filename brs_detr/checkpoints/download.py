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
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from brs_detr.checkpoints.addresses import SafeRedirects, require_allowed
from brs_detr.checkpoints.announced import announced_length, announced_rest
from brs_detr.errors import UserError
from brs_detr.printable import short_name
from brs_detr.run.file_lock import hold

PAUSES = (1.0, 3.0, 10.0, 30.0)
"""Seconds before each further try."""

MOST_BYTES = 10 * 10**9
"""Of a file of unknown size; no weights that we know of have half of that."""

TIMEOUT = 30.0
_LEAST_DIGITS = 32  # of a checksum that cannot be met on purpose; names of PyTorch's files hold 8
_BLOCK = 1 << 18
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)
_BY_HAND = "Check the network, give --mirror URL, or put the file there by hand: {}"


class _Cut(Exception):
    """The transfer ended early or was refused for now; the reason is its text."""


class _Source(NamedTuple):
    """A file of a server, the way to it, and how large it may be."""

    url: str
    opener: urllib.request.OpenerDirector
    most_bytes: int


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
    """Fetch a file; it is there when it is whole, and not before.

    What an earlier try left is kept beside it as `NAME.partial` and continued, unless the server has another file now.

    Args:
        url: https, or http where a checksum vouches for the file.
        target: where to put it.
        sha256: what its checksum must be, or the beginning of it; empty if that is not known.
        most_bytes: that it may have.
        insecure: take http without a checksum as well.
        console: where progress is shown.
        sleep: waits for some seconds, before each further try.

    Raises:
        UserError: the address is refused, or the file cannot be fetched, is too large or a web page, or has another
            checksum.
    """
    redirects = SafeRedirects(insecure or len(sha256) >= _LEAST_DIGITS)
    require_allowed(url, redirects.is_vouched_for)
    source = _Source(url, urllib.request.build_opener(redirects), most_bytes)
    partial = target.with_name(f"{target.name}.partial")
    try:
        before = _version(target)
        with hold(target.with_name(f".{target.name}.lock"), wait=True), _bar(target.name, console) as progress:
            if _version(target) != before:
                return  # another process has fetched it meanwhile
            _fetch_all(source, partial, progress, console, sleep)
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
    source: _Source,
    partial: Path,
    progress: Callable[[int, int | None], None],
    console: Console,
    sleep: Callable[[float], None],
) -> None:
    for pause in (*PAUSES, None):
        try:
            _fetch_rest(source, partial, progress)
            return
        except (_Cut, http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
            cause = getattr(error, "reason", error)
            reason = str(cause) or type(error).__name__
            if pause is None or isinstance(cause, socket.gaierror):  # a name that is not known is not known in 30 s
                raise _unfetched(source.url, reason, partial) from None
            console.print(f"{reason}; trying again in {pause:g} s")
            sleep(pause)


def _fetch_rest(source: _Source, partial: Path, progress: Callable[[int, int | None], None]) -> None:
    """Fetch what is missing of a file."""
    validator = _read_validator(partial)
    start = partial.stat().st_size if validator and partial.exists() else 0
    headers = {"User-Agent": "brs-detr", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    try:
        response = source.opener.open(urllib.request.Request(source.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        _require_whole(error, source.url, start, validator, partial)
        return
    except (http.client.InvalidURL, ValueError) as error:
        raise UserError(f"{source.url} is no http address: {error}.", "Check it.") from None
    with response:
        _refuse_page(source.url, response, partial)
        start, total = _place(source.url, response, start, validator, partial)
        if total is not None and total > source.most_bytes:
            raise _too_large(source, partial)
        with partial.open("ab" if start else "wb") as file:
            while block := _read(response):
                file.write(block)
                if file.tell() > source.most_bytes:
                    raise _too_large(source, partial)
                progress(file.tell(), total)
            size = file.tell()
    if total is not None and size != total:
        raise _Cut(f"the connection ended after {size:,} of {total:,} bytes")


def _require_whole(error: urllib.error.HTTPError, url: str, start: int, validator: str, partial: Path) -> None:
    """Go on where a refusal means that all of the file is here already.

    Raises:
        _Cut: the next answer may be another one.
        UserError: it will not.
    """
    if error.code == 416:
        total = error.headers.get("Content-Range", "").rpartition("/")[2]
        if start and total == str(start) and _validator_of(error) in ("", validator):
            return
        raise _begin_anew(partial, "the file has changed on the server")
    reason = f"the server answers {error.code} {error.reason}"
    if error.code in _WORTH_ANOTHER_TRY:
        raise _Cut(reason) from None
    raise _unfetched(url, reason, partial) from None


def _refuse_page(url: str, response: Any, partial: Path) -> None:
    if response.headers.get_content_type() == "text/html":
        raise UserError(
            f"{url} answers with a web page and not with the file: a sign-in, a warning, or a limit on downloads.",
            f"Open it in a browser, download the file, and put it there as {partial.with_suffix('')}",
        )


def _place(url: str, response: Any, start: int, validator: str, partial: Path) -> tuple[int, int | None]:
    """Where in the file the answer begins, and how many bytes the file has, if that is said.

    Raises:
        _Cut: the answer does not continue what there is, which is deleted.
        UserError: the answer contradicts itself.
    """
    found = _validator_of(response)
    if response.status != 206:
        try:
            total = announced_length(response.headers)
        except ValueError as error:
            raise _unfetched(url, str(error), partial) from None
        _forget(partial)  # before the tag of the new one is there: it must not stand beside bytes of the old one
        _write_validator(partial, found)
        return 0, total
    if found not in ("", validator):
        raise _begin_anew(partial, "the file has changed on the server")
    try:
        return start, announced_rest(response.headers, start)
    except ValueError as error:
        raise _begin_anew(partial, str(error)) from None


def _validator_of(response: Any) -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""


def _begin_anew(partial: Path, reason: str) -> _Cut:
    _forget(partial)
    return _Cut(reason)


def _unfetched(url: str, reason: str, partial: Path) -> UserError:
    return UserError(f"{url} cannot be fetched: {reason}.", _BY_HAND.format(partial.with_suffix("")))


def _too_large(source: _Source, partial: Path) -> UserError:
    _forget(partial)
    return UserError(
        f"{source.url} gives more than {source.most_bytes / 1e9:,.12g} GB.",
        "If you expect so much, fetch it with `brs-detr download NAME --max-gb N`, or by other means.",
    )


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
    is_strong = not text.startswith("W/")  # a weak one does not vouch for bytes
    return text if is_strong and text.isascii() and text.isprintable() else ""


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
