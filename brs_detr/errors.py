"""The one exception that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """Something the user can mend: what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with code 2.

    Args:
        message: what is wrong, naming the file, image id or key.
        cure: what to do about it, printed on a line of its own.
    """

    def __init__(self, message: str, cure: str | None = None) -> None:
        super().__init__(message if cure is None else f"{message}\n  {cure}")
        self.message = message
        self.cure = cure


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Name the closest valid choice, or list them all when none is close."""
    choices = sorted(valid)
    close = difflib.get_close_matches(name, choices, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Choose one of: {', '.join(choices)}."


def shortened(names: Sequence[str], most: int = 8) -> str:
    """Names with commas between them, of many the first ones and how many more there are."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")
