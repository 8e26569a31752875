"""Find what Python reads in JSON and no other program does: NaN, numbers without end, halves of characters."""

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
    left: list[tuple[Any, _Place, int]] = [(tree, (), 0)]
    while left:
        node, place, depth = left.pop()
        if isinstance(node, dict | list):
            if depth > MAX_DEPTH:
                yield f"{_words(place)} is nested more than {MAX_DEPTH} deep"
            elif isinstance(node, dict):
                left.extend((value, (key, place), depth + 1) for key, value in node.items() if key not in skipped)
                yield from (f"a key of {_words(place)} is {key!a}" for key in node if not is_text(key))
            elif not _is_plain(node):
                left.extend((value, (number, place), depth + 1) for number, value in enumerate(node))
        elif isinstance(node, float):
            if not math.isfinite(node):
                yield f"{_words(place)} is {node}"
        elif isinstance(node, str):
            if not is_text(node):
                yield f"{_words(place)} is {node!a}"
        elif node is not None and abs(node) > MAX_INTEGER:
            yield f"{_words(place)} is a number of more than 64 bits"


def without_odd_values(node: Any, depth: int = 0) -> Any:
    """A copy of a tree with null in place of them; names of files stay, as the disk has them."""
    if depth > MAX_DEPTH and isinstance(node, dict | list):
        return None
    if isinstance(node, dict):
        return {
            key: value if key == "file_name" else without_odd_values(value, depth + 1)
            for key, value in node.items()
            if is_text(key)
        }
    if isinstance(node, list):
        return [without_odd_values(value, depth + 1) for value in node]
    is_odd = (isinstance(node, str) and not is_text(node)) or (isinstance(node, float) and not math.isfinite(node))
    return None if is_odd else node


def is_text(text: str) -> bool:
    """Whether a text can be written: some programs cut characters beyond the first 65,536 in two."""
    return text.isascii() or _HALF.search(text) is None


def _is_plain(node: list[Any]) -> bool:
    """Whether a list holds nothing but sound numbers, as nearly all long ones do."""
    return set(map(type, node)) <= {int, float} and all(map(_is_small, node))


def _is_small(number: float) -> bool:
    return -MAX_INTEGER <= number <= MAX_INTEGER


def _words(place: _Place) -> str:
    parts: list[str] = []
    while place:
        key, place = place
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return "".join(reversed(parts)).lstrip(".") or "the file"
