"""Open a dataset of any format, and find its files that are outside of its folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from brs_detr.data import kinds
from brs_detr.data.annotations import read_annotations
from brs_detr.data.findings import Finding
from brs_detr.data.formats.coco_folder import (
    annotation_files,
    coco_source,
    data_root,
    files_left_out,
    split_of_file,
    splits_below,
)
from brs_detr.data.formats.layout import (
    DataSource,
    FolderFiles,
    SourceSplit,
    SplitContent,
    describe_folder,
    list_files,
    name_below,
    split_name,
)
from brs_detr.data.formats.voc import open_voc
from brs_detr.data.formats.yolo import open_data_yaml, open_yolo, require_no_labels
from brs_detr.data.formats.yolo_yaml import is_data_yaml, is_names_file
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
    """Open a dataset without reading its annotations.

    Args:
        folder: dataset in any of the layouts of `docs/data.md`, or the file or folder that holds its annotations: a
            COCO file, `data.yaml`, `classes.txt`, `labels/` or `Annotations/`. That also chooses between two formats.

    Raises:
        UserError: no such folder, or not exactly one of the formats is recognized in it; the message shows what each
            looks like, or how to choose.
    """
    path = Path(folder)
    if path.is_file():
        source = _open_file(path)
        return with_outside_files(source, data_root(path) if source.format == "COCO" else source.folder)
    if not path.is_dir():
        raise UserError(f"There is no dataset folder {path}.", "Check the path.")
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
        raise UserError(f"No dataset in {path}, which holds {describe_folder(path)}.{odd_json}", _FORMATS)
    (source,) = found
    return with_outside_files(source, path if path in (source.folder, *source.folder.parents) else source.folder)


def _odd_json(folder: Path) -> str:
    """Why the only JSON file of a folder is no annotation file; empty where there is not exactly one."""
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
        raise UserError(f"{file} does not describe a dataset.", _FORMATS)
    return source


def _open_folder(folder: Path) -> list[DataSource]:
    files = list_files(folder)
    return [source for source in (_open_coco(folder), _open_voc(files), _open_yolo(files)) if source is not None]


def _open_label_folder(folder: Path) -> list[DataSource]:
    """The dataset of a folder that holds only annotations, in the format of those."""
    files = list_files(folder)
    if folder.name.lower() not in _LABEL_FOLDERS or files.images:
        return []
    parent = list_files(folder.parent)
    readers = {".json": lambda: _open_coco(folder.parent), ".xml": lambda: open_voc(parent)}
    readers[".txt"] = lambda: open_voc(parent) if folder.name.lower() == "imagesets" else _open_yolo(parent)
    found = (read() for suffix, read in readers.items() if files.ending(suffix))
    return [source for source in found if source is not None]


def _unpacked(folder: Path) -> Path:
    """The only folder in a folder that holds nothing else, as archives are often unpacked."""
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
    return open_voc(list_files(_only(files.root, roots, "Pascal VOC dataset")))


def _open_yolo(files: FolderFiles) -> DataSource | None:
    yamls = [path for path in files.ending(".yaml", ".yml") if is_data_yaml(files.root / path)]
    yamls = [path for path in yamls if len(path.parts) == 1] or yamls
    if not yamls:
        return open_yolo(files)
    file = _only(files.root, yamls, "YAML file of a dataset")
    return open_data_yaml(file, files if file.parent == files.root else None)


def _only(root: Path, paths: Iterable[Path], what: str) -> Path:
    first, *others = sorted(paths)
    if others:
        listed = ", ".join(path.as_posix() for path in (first, *others))
        raise UserError(f"{root} holds more than one {what}: {listed}.", "Give the path of one of them.")
    return root / first


def _choice(source: DataSource) -> str | None:
    """The file or folder whose path chooses this format, None where there is no single one."""
    if source.format == "COCO" and len(source.splits) == 1:
        return next(str(split.file) for split in source.splits.values())
    if source.format == "YOLO":
        yamls = [path for path in source.folder.glob("*.y*ml") if is_data_yaml(path)]
        places = [*yamls, source.folder / "labels"]
    else:
        places = [source.folder / "annotations", source.folder / "Annotations"]
    return next((str(place) for place in places if place.exists()), None)


def with_outside_files(source: DataSource, folder: Path) -> DataSource:
    """A dataset that reports, when it is read, which of its files are outside of a folder.

    Paths lead outside by `..`, from the root of the disk, or through a link of the file or of a folder.
    """
    splits = {
        name: replace(split, read=partial(_read, split, folder.absolute())) for name, split in source.splits.items()
    }
    return replace(source, splits=splits)


def require_inside(folder: Path, findings: Iterable[Finding]) -> None:
    """Refuse to copy what is outside of a dataset.

    Args:
        folder: of the dataset.
        findings: what was found in it.

    Raises:
        UserError: a file is outside.
    """
    for finding in findings:
        if finding.kind == kinds.OUTSIDE_FILE:
            raise UserError(
                f"{folder} has files that lie outside of it: {finding.amount} ({'; '.join(finding.examples)}).",
                "Look at these paths. If the files are yours and meant, add --allow-outside; else take the paths out.",
            )


def _read(split: SourceSplit, folder: Path) -> SplitContent:
    content = split.read()
    outside = dict(_outside(split, content, folder))
    if not outside:
        return content
    texts = [called if real in called else f"{called} is {real}" for called, real in outside.items()]
    findings = (_without_quotes(finding, outside.keys()) for finding in content.findings)
    return content._replace(findings=(*findings, Finding.of(kinds.OUTSIDE_FILE, texts)))


def _without_quotes(finding: Finding, outside: Collection[str]) -> Finding:
    """A finding without quotes of a file that may be a secret of the user's, to which a stranger has linked."""
    hidden = "what stands there is not shown, since the file lies outside of the data folder"
    shown = (
        replace(example, text=f"{where}: {hidden}")
        if (where := example.text.partition(": ")[0]).partition(", line ")[0] in outside
        else example
        for example in finding.shown
    )
    return replace(finding, shown=tuple(shown))


def _outside(split: SourceSplit, content: SplitContent, folder: Path) -> Iterator[tuple[str, str]]:
    """The name in messages and the real path of each file that is outside."""
    root = os.path.realpath(folder)
    folder_of = cache(os.path.realpath)
    for file, called in _files(split, content, folder):
        is_alone = file.name in ("", "..") or file.is_symlink()
        real = os.path.realpath(file) if is_alone else os.path.join(folder_of(file.parent), file.name)  # noqa: PTH118
        if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
            yield called, real


def _files(split: SourceSplit, content: SplitContent, folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that a split is read from, and its images as far as they exist, with their names in messages."""
    yield from content.files.items()
    is_list = split.file.is_file()
    for image in content.dataset["images"]:
        name = image.get("file_name") if isinstance(image, dict) else None
        if isinstance(name, str) and os.path.lexists(file := split.image_dir / name):
            if split.is_coco:
                yield file, f"{name} of {split.file.name}"
            else:
                yield file, name_below(file.absolute(), folder) + (f", named in {split.file.name}" if is_list else "")
