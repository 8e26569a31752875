"""Keep other processes away from a file or a folder while one works on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Held(Exception):
    """Another process holds the lock."""


@contextmanager
def hold(lock: Path, *, wait: bool) -> Iterator[int | None]:
    """Hold a lock file, which is made if need be and stays; a process that ends, however, lets go of it.

    Args:
        lock: the file.
        wait: for another process that holds it.

    Yields:
        Its descriptor: a child that inherits it holds the lock as well. None where the system has no such locks.

    Raises:
        Held: another process holds it, and `wait` is false.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield None
        return
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Held(lock) from None
        yield file.fileno()
