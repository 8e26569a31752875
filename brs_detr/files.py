"""Files that are whole or not there, and folders that go with the process."""

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
    """Yield a path beside `path` to write to. The file replaces `path` when the block ends, and is deleted if it fails.

    The folder is created if needed. A link at `path` is replaced, not followed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all. Lone surrogates are written as JSON escapes them."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def temporary_folder() -> Path:
    """Create an empty folder that is removed when Python ends."""
    return Path(_FOLDERS.enter_context(tempfile.TemporaryDirectory(prefix="brs-detr-", ignore_cleanup_errors=True)))


remove_temporary_folders = atexit.register(_FOLDERS.close)
"""Call it where the process ends without Python's own exit. A second call does nothing."""
