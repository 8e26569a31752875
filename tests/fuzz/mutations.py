"""Files that somebody or something has damaged: a few edits at random places, or values that nobody expects."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

ODD_BYTES = [
    *(b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n\n\n", b" ", b"\t", b"\r", b"'", b'"', b"<", b">", b"&", b"]]>"),
    *(b"[" * 3000, b"{" * 3000, b"<a>" * 3000, b"null", b"true", b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"-0.0"),
    *(b"9" * 400, b"0x10", b"1_000", b",", b":", b"- ", b"!!python/object:os.system", b"<!ENTITY a 'b'>", b"../../"),
]
ODD_VALUES = [
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        10**30,
        -0.5,
        1e308,
        float("inf"),
        float("nan"),
        "",
        "\0",
        "nan",
        "a" * 500,
        "\ud800",
    ),
    *([], [[]], [None], [1, 2, 3], [0, 0, 0, 0], ["a", "b", "c", "d"], {}, {"id": 1}, {"counts": [1], "size": [1, 1]}),
]

Edit = tuple[int, int, bytes]
edits = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from(ODD_BYTES) | st.binary(max_size=8)),
    min_size=1,
    max_size=4,
)
"""Where, how many bytes go, and what comes instead."""


def edited(content: bytes, changes: list[Edit]) -> bytes:
    """Carry out edits; places beyond the end are counted from the beginning again."""
    for place, length, instead in changes:
        at = place % (len(content) + 1)
        content = content[:at] + instead + content[at + length :]
    return content


swaps = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(ODD_VALUES)), min_size=1, max_size=3)
"""Which value of a tree, counted through all of them, and what comes instead; one in three is taken out."""


def swapped(tree: Any, changes: list[tuple[int, Any]]) -> Any:
    """A tree of lists and dictionaries with other values at some places."""
    tree = copy.deepcopy(tree)
    for number, value in changes:
        places = list(_places(tree))
        if places:
            parent, key = places[number % len(places)]
            if number % 3 == 0:
                del parent[key]
            else:
                parent[key] = copy.deepcopy(value)
    return tree


def _places(node: Any) -> Any:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield node, key
        yield from _places(child)


def answer_of(read: Callable[[], Any], refusal: type[Exception]) -> Any:
    """What a reader makes of it, or its refusal; anything else is a fault of ours."""
    try:
        return read()
    except refusal as error:
        assert str(error).strip()
        return error
