"""Text from outside, made safe for a terminal."""

from __future__ import annotations

import json
import re
import unicodedata

LONGEST_NAME = 60
LONGEST_WORD = 120
LONGEST_LINE = 2000
LONGEST_MESSAGE = 10_000
_WORD = re.compile(rf"[^\s/\\]{{{LONGEST_WORD + 1},}}")  # the parts of a path are words


def printable(text: str) -> str:
    r"""Escape every character that steers a terminal or cannot be seen, as JSON does: `\u001b` for ESC.

    These are control characters, direction marks, characters without a width, and lone surrogates. Newlines, tabs,
    spaces of any width and the letters of all scripts stay. JSON stays the same JSON.
    """
    return text if text.isprintable() else "".join(map(_written_out, text))


def cut(text: str, longest: int) -> str:
    """Shorten a text to its beginning and its end."""
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 3]}...{text[-tail:]}"


def for_terminal(text: str) -> str:
    """Make a text printable, and cut overlong words and lines in the middle."""
    lines = printable(text).split("\n")
    return "\n".join(cut(_WORD.sub(lambda word: cut(word[0], LONGEST_WORD), line), LONGEST_LINE) for line in lines)


def short_name(text: str, longest: int = LONGEST_NAME) -> str:
    """Make a name fit for a table or a bar: printable, on one line, and short."""
    return cut(printable(text).replace("\n", "\\n"), longest)


def _written_out(character: str) -> str:
    is_plain = character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs"
    return character if is_plain else json.dumps(character)[1:-1]
