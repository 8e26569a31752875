"""Put files of a data set into another folder, without harm to the data set."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath, PureWindowsPath

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


def name_inside(stated: str) -> str:
    """The name that an image gets in a copy: its own, without folders where those lead out of the image folder.

    Args:
        stated: with slashes; on no system does what is returned lead elsewhere than below a folder.
    """
    path, windows = PurePosixPath(stated), PureWindowsPath(stated)
    leads_out = path.is_absolute() or windows.anchor or ".." in windows.parts
    return windows.name if leads_out else path.as_posix()


def place_file(source: Path, target: Path, link: bool) -> None:
    """Copy a file, or hard-link it where the disk can."""
    if link:
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another disk, or one without hard links
            pass
    shutil.copyfile(source, target)
