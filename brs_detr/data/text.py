"""Read the text files of a data set: one encoding, one kind of line end."""

from __future__ import annotations

import codecs
from pathlib import Path

from brs_detr.errors import UserError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class NotUtf8(UserError):
    """A file that is no text in UTF-8."""


def read_text(file: Path) -> str:
    """Read a text file, see `decoded`.

    Raises:
        UserError: the file cannot be opened, or is not text in UTF-8.
    """
    try:
        return decoded(file.read_bytes(), str(file))
    except OSError as error:
        raise UserError(f"Cannot open {file}: {error.strerror}.", "Check the path.") from None


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
