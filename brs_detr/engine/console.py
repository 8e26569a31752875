"""The console that the engine and the commands speak to."""

from __future__ import annotations

from rich.console import Console

from brs_detr.engine.distributed import is_first

_WIDTH_WITHOUT_TERMINAL = 160


def make_console(*, markup: bool = False) -> Console:
    """Standard output as it is: no colours added, no line broken; silent in all processes but one.

    A file or a pipe has no width of its own: tables are given enough to keep every row on one line.

    Args:
        markup: read rich's markup in what is printed.
    """
    console = Console(quiet=not is_first(), highlight=False, markup=markup, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console
