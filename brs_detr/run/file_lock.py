"""Keep other processes away from a file or a folder while one works on it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_ON_ONE_MACHINE = {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
_LOCKED_FOR_ALL = {"ceph", "gpfs", "lustre", "nfs", "nfs4"}
_LOCKED_FOR_ONE = {"localflock", "local_lock=all", "local_lock=flock", "nolock"}

_held: set[int] = set()


class Held(Exception):
    """Another process holds the lock."""


@contextmanager
def hold(lock: Path, *, wait: bool) -> Iterator[int | None]:
    """Hold a lock file, which is made if need be; a process that ends, however, lets go of it.

    The holder may remove the file.

    Args:
        lock: the file. What is in it stays.
        wait: for another process that holds it.

    Yields:
        Its descriptor: a program that inherits it holds the lock as well, a fork does not. None where the system or
        the file system has no such locks.

    Raises:
        Held: another process holds it, and `wait` is false.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(lock, wait)
    if descriptor is None:
        yield None
        return
    _held.add(descriptor)
    try:
        yield descriptor
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


def _lock(lock: Path, wait: bool) -> int | None:
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if lock.exists() and os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise Held(lock) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno in _WITHOUT_LOCKS:
                return None
            raise
        os.close(descriptor)  # the holder before has removed the file


def is_locked_for_all(path: Path) -> bool:
    """Whether a lock keeps away the processes of every machine that sees a file; False where that is not known.

    Args:
        path: of the file or its folder.
    """
    path = path.resolve()
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    mounts = {line.split()[4].replace(r"\040", " "): line for line in lines}  # of two at one point the later is seen
    seen, _, file_system = mounts[max(filter(path.is_relative_to, mounts), key=len)].partition(" - ")
    kind, *_, options = file_system.split()
    is_for_one = _LOCKED_FOR_ONE & {*options.split(","), *seen.split()[5].split(",")}
    return kind in _ON_ONE_MACHINE or (kind in _LOCKED_FOR_ALL and not is_for_one)


def _let_go() -> None:
    """In a fork, such as a process that loads images: it would hold the locks beyond the end of its parent."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_let_go)
