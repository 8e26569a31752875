"""`brs-detr configs`: what can be trained."""

from __future__ import annotations

import click


@click.command("configs", short_help="List what can be trained.")
@click.option("--path", "show_path", is_flag=True, help="Show where the file is instead of what it is.")
def command(show_path: bool) -> None:
    """List the names that `brs-detr train` takes.

    \b
    Names say: losses and detector, backbone, GPUs x images on each, epochs, data.
      brs-detr configs
      brs-detr configs --path    to copy one and change it
    """
    from brs_detr.config.config import list_configs
    from brs_detr.run.console import make_console

    entries, console = list_configs(), make_console()
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        console.print(f"{entry.name:<{width}}  {entry.path if show_path else entry.description}")
