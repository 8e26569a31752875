"""The console that the engine speaks to."""

from __future__ import annotations

from rich.console import Console

from brs_detr.engine.distributed import is_first


def make_console() -> Console:
    """Standard output as it is: no colours added, no markup read, no line broken; silent in all processes but one."""
    return Console(quiet=not is_first(), highlight=False, markup=False, soft_wrap=True)
