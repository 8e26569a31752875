"""Bars for work that takes long: on a terminal; elsewhere nothing is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from brs_detr.printable import short_name

Item = TypeVar("Item", covariant=True)
Bar = TypeVar("Bar", bound=Progress)


class SizedIterable(Protocol[Item]):
    """Lists and data loaders alike."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Item]: ...


def track(items: SizedIterable[Item], what: str, console: Console) -> Iterator[Item]:
    """Iterate over `items` with a bar on a terminal, in silence elsewhere."""
    if not console.is_terminal:
        yield from items
        return
    with make_bar(console, Progress) as bar:
        task = bar.add_task(short_name(what), total=len(items), note="")
        for item in items:
            yield item
            bar.advance(task)


@contextmanager
def stage(what: str, console: Console) -> Iterator[None]:
    """Something that cannot say how far it is: a spinner on a terminal, in silence elsewhere."""
    if not console.is_terminal:
        yield
        return
    with console.status(Text(short_name(what))):
        yield


@contextmanager
def counter(what: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that reports itself by calls `progress(done, total)`."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with make_bar(console, Progress) as bar:
        task = bar.add_task(short_name(what), total=None, note="")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def make_bar(console: Console, kind: type[Bar]) -> Bar:
    """A bar that counts, shows a note and the time left, and goes away at the end."""
    return kind(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
