"""Folders that last as long as the process, for what outlives the function that made it."""

from __future__ import annotations

import atexit
import tempfile
from contextlib import ExitStack
from pathlib import Path

_FOLDERS = ExitStack()


def temporary_folder() -> Path:
    """A new empty folder, which is removed when Python ends."""
    return Path(_FOLDERS.enter_context(tempfile.TemporaryDirectory(prefix="brs-detr-", ignore_cleanup_errors=True)))


remove_temporary_folders = atexit.register(_FOLDERS.close)
"""For a process that will not be ended by Python; nothing is left to be done the second time."""
