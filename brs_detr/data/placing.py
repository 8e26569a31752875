"""Put files of a data set into another folder, without harm to the data set."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from brs_detr.data.formats.source_split import DataSource
from brs_detr.errors import UserError


def require_apart(source: DataSource, folder: Path) -> None:
    """Refuse to write into a data set, or around it or its images, where overwriting would delete them.

    Args:
        source: the data set.
        folder: resolved path of the folder to be written.

    Raises:
        UserError: they lie within each other.
    """
    whole = source.folder.resolve()
    inner = [whole, *(split.image_dir.resolve() for split in source.splits.values())]
    if whole in folder.parents or any(folder in (path, *path.parents) for path in inner):
        raise UserError(f"{folder} and the source {whole} lie within each other.", "Choose a folder beside the source.")


def place_file(source: Path, target: Path, link: bool) -> None:
    """Copy a file, or hard-link it where the disk can."""
    if link:
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another disk, or one without hard links
            pass
    shutil.copyfile(source, target)
