"""Write a dataset folder in COCO format as a whole, without harm to the dataset it is made from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from brs_detr.data.annotations import write_annotations
from brs_detr.data.formats.layout import DataSource, plain
from brs_detr.errors import UserError


@contextmanager
def fresh_folder(folder: str | Path, overwrite: bool | None = False) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `folder` when the block ends without an exception.

    Args:
        folder: target; nothing of it exists before the block has ended.
        overwrite: replace an existing dataset: only a folder with `annotations` inside. None where the user has no
            such choice.

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
        old = partial.with_suffix(".old")
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
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
        raise UserError(f"{folder} does not look like a dataset, so it is not replaced.", "Remove it yourself.")


def require_apart(source: DataSource, folder: Path) -> None:
    """Refuse to write into a dataset, or around it or its images, where overwriting would delete them.

    Raises:
        UserError: the source and the target folder are within each other.
    """
    folder, whole = folder.resolve(), source.folder.resolve()
    inner = [whole, *(split.image_dir.resolve() for split in source.splits.values())]
    if whole in folder.parents or any(folder in (path, *path.parents) for path in inner):
        raise UserError(f"{folder} and the source {whole} lie within each other.", "Choose a folder beside the source.")


def name_inside(stated: str) -> str:
    """The name of an image in a copy: its own, without folders where those lead out of the image folder on any system.

    Args:
        stated: with slashes.
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


def as_written(entry: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """An entry as it is written: without its `source`, whole numbers of boxes and areas as integers."""
    entry = {**{key: value for key, value in entry.items() if key != "source"}, **changed}
    if "bbox" in entry:
        entry |= {"bbox": [plain(number) for number in entry["bbox"]], "area": plain(entry["area"])}
    return entry


def write_split(
    folder: Path, name: str, dataset: Mapping[str, Any], names: Iterable[str], place: Callable[[int, Path], None]
) -> None:
    """Write `annotations/NAME.json` and the images of a split in `NAME/`.

    Args:
        folder: of the dataset.
        name: of the split.
        dataset: COCO object; it is not changed.
        names: new file name of each image.
        place: called as `place(index of an image, target)`; writes the image.
    """
    (folder / name).mkdir(exist_ok=True)
    images = [as_written(image, file_name=inside) for image, inside in zip(dataset["images"], names, strict=True)]
    for index, image in enumerate(images):
        target = folder / name / image["file_name"]
        target.parent.mkdir(parents=True, exist_ok=True)
        place(index, target)
    annotations = [as_written(annotation) for annotation in dataset["annotations"]]
    write_annotations(
        folder / "annotations" / f"{name}.json", {**dataset, "images": images, "annotations": annotations}
    )
