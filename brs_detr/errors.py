"""The error for the user, and helpers that phrase its message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """An error that the user can fix. The command line prints it without a traceback and exits with code 2.

    Args:
        message: what is wrong, with the file, image id or key.
        hint: how to fix it, printed on a separate line.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  {hint}")
        self.message = message
        self.hint = hint


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Suggest the closest valid name, or list all of them if none is close."""
    choices = sorted(valid)
    close = difflib.get_close_matches(name, choices, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Choose one of: {', '.join(choices)}."


def shortened(names: Sequence[str], most: int = 8) -> str:
    """Join the first `most` names with commas, and say how many more there are."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or its type if it has no message."""
    return next(iter(str(error).splitlines()), type(error).__name__)
