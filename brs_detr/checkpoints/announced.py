"""What the head of an answer says about the size of a file, and about which of its bytes follow."""

from __future__ import annotations

import re
from email.message import Message

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)


def announced_length(headers: Message) -> int | None:
    """Bytes that follow; None where the server does not say.

    Raises:
        ValueError: what it says is no such number, or are two.
    """
    said = {str(value).strip() for value in headers.get_all("Content-Length", [])}
    if not said:
        return None
    if len(said) > 1 or not _NUMBER.fullmatch(min(said)):
        raise ValueError(f"the server gives its length as {' and '.join(sorted(said))}")
    return int(min(said))


def announced_rest(headers: Message, start: int) -> int:
    """Bytes of the whole file, of which those from `start` on follow.

    Raises:
        ValueError: others follow, or it does not become clear which.
    """
    said = str(headers.get("Content-Range", "nothing"))
    found = _RANGE.fullmatch(said.strip())
    first, last = (int(found[1]), int(found[2])) if found else (0, -1)
    total = int(found[3]) if found and found[3] != "*" else last + 1
    length = announced_length(headers)
    if first != start or not first <= last < total or length not in (None, last + 1 - first):
        raise ValueError(f"the server was asked for the bytes from {start:,} on, and gives {said}")
    return total
