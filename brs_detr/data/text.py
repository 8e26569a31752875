"""Read the text files of a data set: one encoding, one kind of line end, whatever a stranger has put into them."""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from brs_detr.errors import UserError

MAX_LABEL_BYTES = 1 << 24
"""Size of a file that describes one image, or a data set in YAML; 400,000 rows of YOLO have as many."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONG_NUMBER = re.compile(r"\d{4301}")  # Python reads whole numbers of 4,300 digits at most


class NotUtf8(UserError):
    """A file that is no text in UTF-8."""


def read_text(file: Path, max_bytes: int | None = None) -> str:
    """Read a text file, see `decoded` and `content_of`.

    Raises:
        UserError: the file cannot be opened, is too large, or is not text in UTF-8.
    """
    try:
        return decoded(content_of(file, max_bytes), str(file))
    except OSError as error:
        raise UserError(f"Cannot open {file}: {error.strerror}.", "Check the path.") from None


def content_of(file: Path, max_bytes: int | None = None) -> bytes:
    """The bytes of a file, which is one: a pipe or a device may have no end.

    Args:
        file: to be read.
        max_bytes: size that it may have.

    Raises:
        OSError: it cannot be read, is none, or is too large.
    """
    found = os.stat(file)  # noqa: PTH116  (names that the disk does not allow are an error of the same kind)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "It is a pipe or a device", str(file))
    if max_bytes is not None and found.st_size > max_bytes:
        raise OSError(errno.EFBIG, f"It has {found.st_size:,} bytes, more than {max_bytes:,}", str(file))
    return file.read_bytes()


def read_json(file: Path) -> Any:
    """Read a JSON file.

    Returns:
        What it holds, NaN and infinite numbers among it, as Python reads them.

    Raises:
        UserError: the file cannot be opened, is not text in UTF-8, or is not JSON (with line and column).
    """
    text = read_text(file)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        reason, place = error.msg, error.pos
    except RecursionError:
        raise UserError(f"{file} is not valid JSON: it has lists in lists without end.", "Export it again.") from None
    except ValueError:
        long = _LONG_NUMBER.search(text)
        reason, place = "a number of more than 4,300 digits", long.start() if long else 0
    line = text.count("\n", 0, place) + 1
    where = f"line {line}, column {place - text.rfind(chr(10), 0, place)}"
    raise UserError(f"{file} is not valid JSON: {reason} at {where}.", "Mend or export the file again.")


def decoded(raw: bytes, where: str) -> str:
    r"""Text in UTF-8, or in UTF-16 with a byte order mark, which is taken off. All lines end with `\n`.

    Args:
        raw: content of the file.
        where: what a message calls it.

    Raises:
        NotUtf8: it is in another encoding; the message tells byte and line, both counted from 1.
    """
    try:
        text = raw.decode(encoding_of(raw))
    except UnicodeDecodeError as error:
        raise _not_utf8(where, raw, error.start) from None
    if "\0" in text:
        raise _not_utf8(where, raw, raw.index(b"\0"))
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(head: bytes) -> str:
    """The encoding that the first bytes of a file announce, UTF-8 where they announce none."""
    return "utf-16" if head.startswith(_UTF_16) else "utf-8"


def _not_utf8(where: str, raw: bytes, place: int) -> NotUtf8:
    line = 1 + raw[:place].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")
    return NotUtf8(f"{where} is not text in UTF-8 (byte {place + 1}, line {line}).", "Save the file as UTF-8.")
