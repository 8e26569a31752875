"""`brs-detr configs`: list the shipped configs."""

from __future__ import annotations

import click


@click.command("configs", short_help="List the configs that can be trained.")
@click.option("--path", "show_path", is_flag=True, help="Show the path of each file instead of its description.")
def command(show_path: bool) -> None:
    """List the names of configs for `brs-detr train`.

    A name has the loss and detector, the backbone, GPUs x images per GPU, epochs, and the dataset.

    \b
    Examples:
      brs-detr configs
      brs-detr configs --path    to copy a file and change it
    """
    from brs_detr.config.config import list_configs
    from brs_detr.run.console import make_console

    entries, console = list_configs(), make_console()
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        console.print(f"{entry.name:<{width}}  {entry.path if show_path else entry.description}")
