"""The console that the engine and the commands speak to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from brs_detr.printable import for_terminal, printable
from brs_detr.run.distributed import is_first

_WIDTH_WITHOUT_TERMINAL = 160


class PlainConsole(Console):
    """Shows every text for what it is: no markup is read in it, and none of it steers the terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Lay out a string, of its own or in a table, after its words have been cut."""
        return super().render_str(for_terminal(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Lay out anything: rich's own control codes pass, those in a text do not."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def make_console(*, stderr: bool = False) -> Console:
    """A console that adds no colours and breaks no line; silent in all processes but one.

    A file or a pipe has no width of its own: tables are given enough to keep every row on one line.

    Args:
        stderr: speak to standard error instead of standard output.
    """
    console = PlainConsole(quiet=not is_first(), stderr=stderr)
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console
