"""Write a whole folder or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brs_detr.errors import UserError


@contextmanager
def fresh_folder(folder: str | Path, overwrite: bool | None = False) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `folder` when the block ends without an exception.

    Args:
        folder: where the result belongs. Nothing of it exists before the block has ended.
        overwrite: replace an existing data set. Only a folder with an `annotations` folder inside is ever replaced.
            None where the user has no such choice.

    Yields:
        An empty folder beside `folder`, on the same disk.

    Raises:
        UserError: `folder` exists, is not empty, and may not be replaced.
    """
    folder = Path(folder).resolve()
    _require_free(folder, overwrite)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        _move_into_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require_free(folder: Path, overwrite: bool | None) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder.", "Choose another name.")
    if not any(folder.iterdir()):
        return
    if not overwrite:
        cure = "Choose another name, or overwrite it (--overwrite)." if overwrite is False else "Choose another name."
        raise UserError(f"The folder {folder} exists and is not empty.", cure)
    if not (folder / "annotations").is_dir():
        raise UserError(f"{folder} does not look like a data set, so it is not replaced.", "Remove it yourself.")


def _move_into_place(partial: Path, folder: Path) -> None:
    old = partial.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
