"""A data set as it lies on disk, whatever its format: the choice of the reader."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import annotation_files, data_root, files_left_out, split_of_file, splits_below
from brs_detr.data.formats.coco_folder_reader import coco_source
from brs_detr.data.formats.outside import with_outside_files
from brs_detr.data.formats.source_files import FolderFiles, describe_folder, list_files
from brs_detr.data.formats.source_split import DataSource, SourceSplit, SplitContent, split_name
from brs_detr.data.formats.voc import open_voc
from brs_detr.data.formats.yolo import open_data_yaml, open_yolo
from brs_detr.data.formats.yolo_folder import require_no_labels
from brs_detr.data.formats.yolo_names import is_names_file
from brs_detr.data.formats.yolo_yaml import is_data_yaml
from brs_detr.errors import UserError

__all__ = ["DataSource", "SourceSplit", "SplitContent", "open_source"]

_FORMATS = """Formats that are understood, each with or without splits (train, val or valid, test):
  COCO        annotations/instances_train.json or train.json, images in train/ or images/; or one JSON file + images/
  Roboflow    train/_annotations.coco.json beside its images, valid/ ...
  Pascal VOC  JPEGImages/ + Annotations/*.xml [+ ImageSets/Main/train.txt]; or *.xml beside the images
  YOLO        data.yaml; or images/ + labels/*.txt + classes.txt; or *.txt beside the images
docs/data.md shows them in full."""

_LABEL_FOLDERS = ("labels", "annotations", "imagesets")


def open_source(folder: str | Path) -> DataSource:
    """Find out what a folder holds.

    Args:
        folder: data set in any of the layouts of `docs/data.md`, or the file or folder that holds its annotations: a
            COCO file, `data.yaml`, `classes.txt`, `labels/` or `Annotations/`. That also chooses between two formats.

    Returns:
        The data set, its annotations not read yet.

    Raises:
        UserError: no such folder, or none of the formats is recognised in it, or more than one; the message shows what
            each looks like, or how to choose.
    """
    path = Path(folder)
    if path.is_file():
        source = _open_file(path)
        return with_outside_files(source, data_root(path) if source.format == "COCO" else source.folder)
    if not path.is_dir():
        raise UserError(f"There is no data set folder {path}.", "Check the path.")
    found = _open_label_folder(path) or _open_folder(_unpacked(path))
    if len(found) > 1:
        choices = " or ".join(filter(None, map(_choice, found)))
        formats = " and ".join(source.format for source in found)
        raise UserError(
            f"{path} looks like more than one format: {formats}.",
            f"{f'Give {choices}, or move' if choices else 'Move'} what belongs to the other format away.",
        )
    if not found:
        odd_json = _odd_json(path)
        if not odd_json:
            require_no_labels(list_files(path.parent if path.name.lower() == "labels" else path))
        raise UserError(f"No data set in {path}, which holds {describe_folder(path)}.{odd_json}", _FORMATS)
    (source,) = found
    return with_outside_files(source, path if path in (source.folder, *source.folder.parents) else source.folder)


def _odd_json(folder: Path) -> str:
    """Why the one JSON file of a folder is no annotation file; nothing where there is none, or are several."""
    files = annotation_files(folder)
    try:
        for file in files[: len(files) == 1]:
            read_annotations(file)
    except UserError as error:
        return f" {error.message}"
    return ""


def _open_file(file: Path) -> DataSource:
    suffix = file.suffix.lower()
    if suffix == ".json":
        split = split_of_file(file)
        return DataSource(file.parent, "COCO", coco_source({split.name: split}))
    if suffix in (".yaml", ".yml"):
        return open_data_yaml(file, is_chosen=True)
    root = next((folder.parent for folder in file.parents if folder.name.lower() == "labels"), file.parent)
    source = open_yolo(list_files(root), file) if is_names_file(file) else None
    if source is None:
        raise UserError(f"{file} does not describe a data set.", _FORMATS)
    return source


def _open_folder(folder: Path) -> list[DataSource]:
    """The folder as each of the formats that it looks like."""
    files = list_files(folder)
    return [source for source in (_open_coco(folder), _open_voc(files), _open_yolo(files)) if source is not None]


def _open_label_folder(folder: Path) -> list[DataSource]:
    """The data set of a folder that holds annotations alone, in the format of those."""
    files = list_files(folder)
    if folder.name.lower() not in _LABEL_FOLDERS or files.images:
        return []
    parent = list_files(folder.parent)
    readers = {".json": lambda: _open_coco(folder.parent), ".xml": lambda: open_voc(parent)}
    readers[".txt"] = lambda: open_voc(parent) if folder.name.lower() == "imagesets" else _open_yolo(parent)
    found = (read() for suffix, read in readers.items() if files.ending(suffix))
    return [source for source in found if source is not None]


def _unpacked(folder: Path) -> Path:
    """The folder in a folder that holds nothing else, as archives are often unpacked."""
    entries = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
    is_alone = len(entries) == 1 and entries[0].is_dir() and split_name(entries[0].name) is None
    return _unpacked(entries[0]) if is_alone else folder


def _open_coco(folder: Path) -> DataSource | None:
    splits = splits_below(folder)
    return DataSource(folder, "COCO", coco_source(splits, files_left_out(folder, splits))) if splits else None


def _open_voc(files: FolderFiles) -> DataSource | None:
    lower = [[part.lower() for part in path.parts] for path in files.images]
    roots = {
        Path(*path.parts[: parts.index("jpegimages")])
        for path, parts in zip(files.images, lower, strict=True)
        if "jpegimages" in parts
    }
    if Path() in roots or not roots:
        return open_voc(files)
    return open_voc(list_files(_only(files.root, roots, "Pascal VOC data set")))


def _open_yolo(files: FolderFiles) -> DataSource | None:
    yamls = [path for path in files.ending(".yaml", ".yml") if is_data_yaml(files.root / path)]
    yamls = [path for path in yamls if len(path.parts) == 1] or yamls
    if not yamls:
        return open_yolo(files)
    file = _only(files.root, yamls, "YAML file of a data set")
    return open_data_yaml(file, files if file.parent == files.root else None)


def _only(root: Path, paths: Iterable[Path], what: str) -> Path:
    first, *others = sorted(paths)
    if others:
        listed = ", ".join(path.as_posix() for path in (first, *others))
        raise UserError(f"{root} holds more than one {what}: {listed}.", "Give the path of one of them.")
    return root / first


def _choice(source: DataSource) -> str | None:
    """The file or folder whose path chooses this format, None where there is not one alone."""
    if source.format == "COCO" and len(source.splits) == 1:
        return next(str(split.file) for split in source.splits.values())
    if source.format == "YOLO":
        yamls = [path for path in source.folder.glob("*.y*ml") if is_data_yaml(path)]
        places = [*yamls, source.folder / "labels"]
    else:
        places = [source.folder / "annotations", source.folder / "Annotations"]
    return next((str(place) for place in places if place.exists()), None)
