"""The console that all commands print to, and its progress bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.segment import Segment
from rich.text import Text

from brs_detr.printable import for_terminal, printable, short_name
from brs_detr.run.distributed import is_first

Item = TypeVar("Item", covariant=True)
Bar = TypeVar("Bar", bound=Progress)

_WIDTH_WITHOUT_TERMINAL = 160


class PlainConsole(Console):
    """A console that ignores markup and escapes control characters in text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Lay out a string, with overlong words shortened."""
        return super().render_str(for_terminal(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Lay out anything. Rich's own control codes pass, but those in text are escaped."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def make_console(*, stderr: bool = False) -> Console:
    """Create a console for a command. Only the first of several processes prints.

    A file or a pipe has no width, so it is given one that keeps each table row on one line.

    Args:
        stderr: print to standard error instead of standard output.
    """
    console = PlainConsole(quiet=not is_first(), stderr=stderr)
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    return console


class SizedIterable(Protocol[Item]):
    """Anything with a length that can be iterated, such as a data loader."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Item]: ...


def track(items: SizedIterable[Item], what: str, console: Console) -> Iterator[Item]:
    """Iterate over items, with a progress bar on a terminal."""
    with counter(what, console) as progress:
        progress(0, len(items))
        for done, item in enumerate(items, start=1):
            yield item
            progress(done, len(items))


@contextmanager
def stage(what: str, console: Console) -> Iterator[None]:
    """Show a spinner on a terminal, for work that cannot report its progress."""
    if not console.is_terminal:
        yield
        return
    with console.status(Text(short_name(what))):
        yield


@contextmanager
def counter(what: str, console: Console, *, of_bytes: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """Yield `progress(done, total)`, which updates a progress bar on a terminal and does nothing elsewhere."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with make_bar(console, Progress, of_bytes=of_bytes) as bar:
        task = bar.add_task(short_name(what), total=None, note="")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def make_bar(console: Console, kind: type[Bar], *, of_bytes: bool = False) -> Bar:
    """Create a progress bar of a class, with a count, a note and the remaining time. It disappears when it ends."""
    amount = (DownloadColumn(), TransferSpeedColumn()) if of_bytes else (MofNCompleteColumn(),)
    return kind(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        *amount,
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
