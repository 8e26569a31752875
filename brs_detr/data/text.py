"""Read text and JSON of any origin, and find values that no other program can read."""

from __future__ import annotations

import codecs
import errno
import json
import math
import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from brs_detr.errors import UserError

MAX_LABEL_BYTES = 1 << 24
"""Size limit of a YAML file and of a file that describes one image; enough for 400,000 YOLO rows."""

MAX_DEPTH = 64
"""Depth of nested lists and objects beyond which nothing is read or written."""

MAX_INTEGER = 2**63 - 1
"""Largest integer of 64 bits."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONG_NUMBER = re.compile(r"\d{4301}")  # Python reads integers of at most 4,300 digits
_SURROGATE = re.compile("[\ud800-\udfff]")
_Path = tuple[Any, ...]  # (key, path of its parent)


class NotUtf8(UserError):
    """A file that is not UTF-8 text."""


def read_text(file: Path, max_bytes: int | None = None) -> str:
    """Read a text file with `content_of` and `decoded`.

    Raises:
        UserError: the file cannot be opened, is too large, or is not UTF-8.
    """
    try:
        return decoded(content_of(file, max_bytes), str(file))
    except OSError as error:
        raise UserError(f"Cannot open {file}: {error.strerror}.", "Check the path.") from None


def content_of(file: Path, max_bytes: int | None = None) -> bytes:
    """Read a regular file; a pipe or a device may have no end.

    Raises:
        OSError: the file cannot be read, is not a regular one, or has more than `max_bytes`.
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
    """Read a JSON file as Python does: with NaN and infinite numbers.

    Raises:
        UserError: the file cannot be opened, is not UTF-8, or is not JSON (names line and column).
    """
    text = read_text(file)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        reason, at = error.msg, error.pos
    except RecursionError:
        raise UserError(f"{file} is not valid JSON: it has lists in lists without end.", "Export it again.") from None
    except ValueError:
        long = _LONG_NUMBER.search(text)
        reason, at = "a number of more than 4,300 digits", long.start() if long else 0
    where = f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"
    raise UserError(f"{file} is not valid JSON: {reason} at {where}.", "Mend or export the file again.")


def decoded(raw: bytes, where: str) -> str:
    r"""Decode UTF-8, or UTF-16 with a byte order mark. The mark is removed, and all lines end with `\n`.

    Args:
        raw: content of a file.
        where: name of the file in messages.

    Raises:
        NotUtf8: the encoding is another one; names byte and line, both counted from 1.
    """
    try:
        text = raw.decode(encoding_of(raw))
    except UnicodeDecodeError as error:
        raise _not_utf8(where, raw, error.start) from None
    if "\0" in text:
        raise _not_utf8(where, raw, raw.index(b"\0"))
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(head: bytes) -> str:
    """The encoding that the first bytes of a file announce, otherwise UTF-8."""
    return "utf-16" if head.startswith(_UTF_16) else "utf-8"


def _not_utf8(where: str, raw: bytes, at: int) -> NotUtf8:
    line = 1 + raw[:at].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")
    return NotUtf8(f"{where} is not text in UTF-8 (byte {at + 1}, line {line}).", "Save the file as UTF-8.")


def is_number(value: Any) -> bool:
    """Whether a value is a float, NaN and infinity included, or an integer of 64 bits."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return abs(value) <= MAX_INTEGER if is_integer else isinstance(value, float)


def is_text(text: str) -> bool:
    """Whether a text can be written as UTF-8: programs that count in 16 bits can leave half a character."""
    return text.isascii() or _SURROGATE.search(text) is None


def odd_values(tree: Any, skipped: Collection[str] = ()) -> Iterator[str]:
    """Find values that a JSON file cannot hold: NaN, infinity, halves of characters, too deep nesting.

    Args:
        tree: lists and objects as Python reads them.
        skipped: keys that are checked elsewhere.

    Yields:
        One text for each value, such as `annotations[3].score is nan`.
    """
    left: list[tuple[Any, _Path, int]] = [({"": tree}, (), 0)]
    while left:
        node, path, depth = left.pop()
        if depth > MAX_DEPTH:
            yield f"{_path_text(path)} is nested more than {MAX_DEPTH} deep"
            continue
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            kind = type(value)
            if key in skipped:
                continue
            if kind is dict or (kind is list and not _are_finite(value)):
                left.append((value, (key, path), depth + 1))
            elif (kind is float and value - value) or (kind is str and not is_text(value)):
                yield f"{_path_text((key, path))} is {ascii(value[:40] if kind is str else value)}"
            if type(key) is str and not (key.isascii() or is_text(key)):
                yield f"a key of {_path_text(path)} is {key[:40]!a}"


def without_odd_values(node: Any, depth: int = 0) -> Any:
    """Copy a tree with null in place of odd values; file names stay as they are on disk."""
    if isinstance(node, dict | list) and depth > MAX_DEPTH:
        return None
    if isinstance(node, dict):
        return {
            key: value if key == "file_name" and isinstance(value, str) else without_odd_values(value, depth + 1)
            for key, value in node.items()
            if is_text(key)
        }
    if isinstance(node, list):
        return [without_odd_values(value, depth + 1) for value in node]
    is_odd = (isinstance(node, str) and not is_text(node)) or (isinstance(node, float) and not math.isfinite(node))
    return None if is_odd else node


def _are_finite(values: list[Any]) -> bool:
    """Whether a list has only numbers with a finite sum, as nearly all long lists do."""
    try:
        return set(map(type, values)) <= {int, float} and math.isfinite(sum(values))
    except OverflowError:
        return False


def _path_text(path: _Path) -> str:
    parts: list[str] = []
    while path:
        key, path = path
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return "".join(reversed(parts)).lstrip(".") or "the file"
