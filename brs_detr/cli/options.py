"""Options and parameter types that several commands share."""

from __future__ import annotations

import re
from typing import Any

import click

from brs_detr.errors import UserError

device_option = click.option("--device", help="cpu, cuda, cuda:1, ... [default: the GPU if there is one]")
trust_option = click.option(
    "--trust-file",
    "--trust-pickle",
    "trust_file",
    is_flag=True,
    help="Run the code that a file asks for, in its pickle or its config. Use it only if you trust the author.",
)
data_only_option = click.option(
    "--data-only", is_flag=True, help="Refuse a config file, since it is a program that would run."
)


def require_shipped(config: str) -> None:
    """Refuse a config that is not shipped with this package.

    Raises:
        UserError: there is no such config, or it is not a shipped one.
    """
    from brs_detr.config.config import configs_dir, find_config

    path = find_config(config)
    if not path.resolve().is_relative_to(configs_dir().resolve()):
        raise UserError(f"{path} is a program, and --data-only runs none.", "Use a name from `brs-detr configs`.")


class NumberRange(click.FloatRange):
    """A range of numbers that excludes NaN, which click would accept."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse a number."""
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value} is not a number.", param, ctx)
        return number


class Size(click.ParamType):
    """Two sides in pixels, as in 1333x800, in either order."""

    name = "LONGxSHORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse the two sides."""
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", str(value).strip(), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a size such as 1333x800.", param, ctx)
        return int(match[1]), int(match[2])
