"""Make text from files, servers and users safe for a terminal."""

from __future__ import annotations

import json
import re
import unicodedata

LONGEST_NAME = 60
LONGEST_WORD = 120
LONGEST_LINE = 2000
LONGEST_MESSAGE = 10_000
_LONG_WORD = re.compile(rf"[^\s/\\]{{{LONGEST_WORD + 1},}}")  # each part of a path is a word


def printable(text: str) -> str:
    r"""Escape control and invisible characters as JSON does, such as ESC as `\u001b`.

    This covers control characters, direction marks, zero-width characters and lone surrogates. Newlines, tabs, spaces
    of any width and the letters of all scripts are kept. JSON text keeps its meaning.
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def cut(text: str, longest: int) -> str:
    """Shorten a text in the middle."""
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 3]}...{text[-tail:]}"


def for_terminal(text: str) -> str:
    """Make a text printable, and shorten overlong words and lines in the middle."""
    lines = printable(text).split("\n")
    return "\n".join(cut(_LONG_WORD.sub(lambda word: cut(word[0], LONGEST_WORD), line), LONGEST_LINE) for line in lines)


def short_name(text: str, longest: int = LONGEST_NAME) -> str:
    """Make a name fit into a table or progress bar: printable, on one line, and short."""
    return cut(printable(text).replace("\n", "\\n"), longest)


def _escape(character: str) -> str:
    is_plain = character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs"
    return character if is_plain else json.dumps(character)[1:-1]
