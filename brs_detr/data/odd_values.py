"""Find what Python reads in JSON and no other program does: NaN, infinite numbers, halves of characters."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from typing import Any

MAX_DEPTH = 64
"""Lists and objects in each other, beyond which nothing is looked at or written."""

MAX_INTEGER = 2**63 - 1
"""Largest whole number, of 64 bits, as programs and numpy count."""

_HALF = re.compile("[\ud800-\udfff]")

_Place = tuple[Any, ...]  # key, and the place that it is in


def is_number(value: Any) -> bool:
    """Whether a value is a number that fits into 64 bits; NaN and infinite ones do."""
    is_counted = isinstance(value, int) and not isinstance(value, bool)
    return abs(value) <= MAX_INTEGER if is_counted else isinstance(value, float)


def odd_values(tree: Any, skipped: Collection[str] = ()) -> Iterator[str]:
    """Where a tree of lists and objects holds what a file in JSON cannot, and what that is.

    Args:
        tree: as Python reads it.
        skipped: keys whose values are looked at elsewhere.

    Yields:
        `annotations[3].score is nan`, one text for each value.
    """
    left: list[tuple[Any, _Place, int]] = [({"": tree}, (), 0)]
    while left:
        node, place, depth = left.pop()
        if depth > MAX_DEPTH:
            yield f"{_words(place)} is nested more than {MAX_DEPTH} deep"
            continue
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            kind = type(value)
            if key in skipped:
                continue
            if kind is dict or (kind is list and not _are_finite(value)):
                left.append((value, (key, place), depth + 1))
            elif (kind is float and value - value) or (kind is str and not is_text(value)):
                yield f"{_words((key, place))} is {ascii(value[:40] if kind is str else value)}"
            if type(key) is str and not (key.isascii() or is_text(key)):
                yield f"a key of {_words(place)} is {key[:40]!a}"


def without_odd_values(node: Any, depth: int = 0) -> Any:
    """A copy of a tree with null in place of them; names of files stay, as the disk has them."""
    if depth > MAX_DEPTH and isinstance(node, dict | list):
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


def is_text(text: str) -> bool:
    """Whether a text can be written: programs that count in 16 bits can leave half a character."""
    return text.isascii() or _HALF.search(text) is None


def _are_finite(values: list[Any]) -> bool:
    """Whether a list holds nothing but numbers that are finite together, as nearly all long ones do."""
    if not set(map(type, values)) <= {int, float}:
        return False
    try:
        return math.isfinite(sum(values))
    except OverflowError:
        return False


def _words(place: _Place) -> str:
    parts: list[str] = []
    while place:
        key, place = place
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return "".join(reversed(parts)).lstrip(".") or "the file"
