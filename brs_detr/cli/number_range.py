"""A range of numbers on the command line."""

from __future__ import annotations

from typing import Any

import click


class NumberRange(click.FloatRange):
    """A range of numbers; NaN, which click lets through, is not in it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number that was written."""
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value} is not a number.", param, ctx)
        return number
