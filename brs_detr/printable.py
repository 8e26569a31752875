"""Text that came from outside, as a terminal may have it."""

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
    r"""Text without a character that steers a terminal or cannot be seen.

    Each is written out as in JSON, such as `\u001b` for ESC: control characters, marks that turn the direction of
    writing, those without a width, halves of surrogate pairs. Newlines, tabs and spaces of any width stay, and so do
    the letters of all scripts. JSON stays the same JSON.
    """
    return text if text.isprintable() else "".join(map(_written_out, text))


def cut(text: str, longest: int) -> str:
    """A text or its beginning and its end, of at most so many characters."""
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 3]}...{text[-tail:]}"


def for_terminal(text: str) -> str:
    """Printable text, of whose words and lines the overlong ones are cut in the middle."""
    lines = printable(text).split("\n")
    return "\n".join(cut(_WORD.sub(_cut_word, line), LONGEST_LINE) for line in lines)


def short_name(text: str, longest: int = LONGEST_NAME) -> str:
    """A name for a table or a bar: printable, in one line, and not much of it."""
    return cut(printable(text).replace("\n", "\\n"), longest)


def _cut_word(match: re.Match[str]) -> str:
    return cut(match[0], LONGEST_WORD)


def _written_out(character: str) -> str:
    is_plain = character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs"
    return character if is_plain else json.dumps(character)[1:-1]
