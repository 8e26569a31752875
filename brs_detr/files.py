"""Atomic file writes, and temporary folders that are removed when the process ends."""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_FOLDERS = ExitStack()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces `path` when the block succeeds and is deleted otherwise.

    The parent folder is created if needed. A symbolic link at `path` is replaced, not followed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically. Lone surrogates are escaped as in JSON."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def temporary_folder() -> Path:
    """Create an empty folder that is removed when Python exits."""
    return Path(_FOLDERS.enter_context(tempfile.TemporaryDirectory(prefix="brs-detr-", ignore_cleanup_errors=True)))


remove_temporary_folders = atexit.register(_FOLDERS.close)
"""Remove all temporary folders now, for a process that skips Python's own exit. A second call does nothing."""
