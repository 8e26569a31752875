"""Options of commands that open what others wrote: how much of it may run."""

from __future__ import annotations

import click

from brs_detr.errors import UserError

trust_option = click.option(
    "--trust-file",
    "--trust-pickle",
    "trust_file",
    is_flag=True,
    help="Run code that the file asks for, in its pickle or its config. Only if you trust its author.",
)
data_only_option = click.option(
    "--data-only", is_flag=True, help="Refuse a config that is a file: it is a program, which would run."
)


def require_shipped(config: str) -> None:
    """Refuse a config of which this package does not have the text.

    Raises:
        UserError: there is no such config, or it is a file of somebody else.
    """
    from brs_detr.config.config import configs_dir, find_config

    path = find_config(config)
    if not path.resolve().is_relative_to(configs_dir().resolve()):
        raise UserError(
            f"{path} is a program, and --data-only runs none.", "Take a name from `brs-detr configs`, or leave it out."
        )
