"""The exception whose text is for the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """An error that the user can mend. The command line prints it without a traceback and exits with code 2.

    Args:
        message: what is wrong, with the file, image id or key.
        hint: what to do about it, on a line of its own.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  {hint}")
        self.message = message
        self.hint = hint


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Name the closest valid choice, or list all if none is close."""
    choices = sorted(valid)
    close = difflib.get_close_matches(name, choices, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Choose one of: {', '.join(choices)}."


def shortened(names: Sequence[str], most: int = 8) -> str:
    """Join the first names with commas, and say how many more there are."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")
