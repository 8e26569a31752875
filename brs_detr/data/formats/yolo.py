"""Find and read datasets in YOLO format, whichever tool laid out the folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import NamedTuple

from brs_detr.data import kinds
from brs_detr.data.findings import Fault, findings_of
from brs_detr.data.formats.layout import (
    SPLITS,
    DataSource,
    FolderFiles,
    FoundSplit,
    SourceImage,
    SourceObject,
    SourceSplit,
    SplitContent,
    common_folder,
    folded,
    is_image,
    list_files,
    make_dataset,
    name_below,
    name_faults,
    split_name,
    split_of_path,
    splits_by_folder,
)
from brs_detr.data.formats.yolo_labels import YoloRow, box_xywh, kind_of_rows, looks_like_labels, read_label_file
from brs_detr.data.formats.yolo_pairs import IMAGE_FOLDERS, LabelPairs, label_texts, pair_labels, unread_images
from brs_detr.data.formats.yolo_yaml import (
    DataYaml,
    find_images,
    find_names_files,
    longest_end,
    numbered_names,
    read_data_yaml,
    read_names_files,
    require_same_numbers,
)
from brs_detr.data.images import ImageSize
from brs_detr.data.kinds import FaultKind
from brs_detr.data.text import read_text
from brs_detr.errors import UserError, shortened

_NUM_PEEKED = 20


@dataclass(frozen=True)
class _YoloFolder:
    """A dataset in YOLO format; no label is read yet.

    Args:
        files: its folder.
        splits: at least one, with at least one image each.
        names: class name by number; empty where there are none.
        names_file: file of the names.
        num_classes: how many there are where only that is said.
        num_keypoint_columns: how many numbers of key points follow a box, None where that is not said.
        faults: what is wrong with the dataset as a whole.
        other_files: what it was read from besides labels and lists, and folders that it names, with their names in
            messages.
    """

    files: FolderFiles
    splits: dict[str, FoundSplit]
    names: dict[int, str]
    names_file: Path
    num_classes: int | None = None
    num_keypoint_columns: int | None = None
    faults: tuple[Fault, ...] = ()
    other_files: Mapping[Path, str] = field(default_factory=dict)


def open_yolo(files: FolderFiles, names_file: Path | None = None) -> DataSource | None:
    """Open a dataset in YOLO format without a YAML file; None when the folder holds no label file.

    The splits are those of `train.txt`, `val.txt` and `test.txt`, otherwise those whose folders the images are in,
    otherwise `all`.

    Args:
        files: the folder.
        names_file: file with the class names, where the user chose among several.

    Raises:
        UserError: a list or a file with class names cannot be used, or names that were not chosen do not agree.
    """
    if not _holds_labels(files):
        return None
    splits = _splits_by_list(files) or _splits_by_folder(files)
    names, source = read_names_files(find_names_files(files) if names_file is None else [names_file])
    other = {} if source is None else {source: name_below(source, files.root)}
    return _source(_YoloFolder(files, splits, names, source or files.root, other_files=other)) if splits else None


def open_data_yaml(file: Path, files: FolderFiles | None = None, is_chosen: bool = False) -> DataSource:
    """Open the dataset in YOLO format that a YAML file describes, without splits that have no image.

    Args:
        file: the YAML file.
        files: its folder, when that has been listed already.
        is_chosen: whether the user gave this file, so that its class names count, whatever other files say.

    Raises:
        UserError: the file cannot be used, there are no images to train with, or other class names are beside it.
    """
    data, files = read_data_yaml(file), files or list_files(file.parent)
    found = {name: _named_split(data, data.splits[name]) for name in SPLITS if name in data.splits}
    splits = {name: split for name, split in found.items() if split.paths}
    lost = [
        f"{name}: {', '.join(data.splits[name])}{''.join(f' ({text})' for _, text in split.faults[:1])}"
        for name, split in found.items()
        if not split.paths
    ]
    if not data.splits:
        splits = _splits_by_list(files) or _splits_by_folder(files)
    if not splits:
        require_readable_images(files)
    if not splits or ("train" in found and "train" not in splits):
        named = f", {'; '.join(lost)}" if lost else ""
        raise UserError(
            f"No images where {file} says they are{named}; looked in {', '.join(map(str, data.folders))}.",
            "Mend its paths, or those in the lists that it names.",
        )
    names, names_file = _names_of(data, files, is_chosen)
    faults = [(kinds.MISSING_SPLIT, f"{file.name}, {text}") for text in lost]
    faults += [(kinds.UNUSED_LIST, text) for text in _passed_over(data, files, splits) if data.splits]
    if names and data.num_classes not in (None, len(names)):
        text = f"{file.name}: nc is {data.num_classes}, but there are {len(names)} names"
        faults.append((kinds.WRONG_COUNT, text))
    other = {each: name_below(each, files.root) for each in (file, names_file)}
    other |= {folder: f"path {data.root} of {file.name}" for folder in data.folders[:1] if data.root}
    for name, text in ((name, text) for name, texts in data.splits.items() for text in texts):
        path = longest_end(text, data.folders)
        if path is not None:
            other.setdefault(path, f"{name} {text} of {file.name}")
    columns = data.num_keypoint_columns
    return _source(_YoloFolder(files, splits, names, names_file, data.num_classes, columns, tuple(faults), other))


def require_no_labels(files: FolderFiles) -> None:
    """Say why a folder with label files is no dataset.

    Raises:
        UserError: it has label files without images, or without a row.
    """
    require_readable_images(files)
    labels = label_texts(files)
    if not labels:
        return
    if not files.images:
        raise UserError(
            f"{files.root} has label files, {len(labels)} like {labels[0].as_posix()}, but no image.",
            "Put the images into a folder images beside labels, under the same names.",
        )
    for label in labels:
        for line, row in enumerate(read_text(files.root / label).split("\n"), start=1):
            if row.strip():
                raise UserError(
                    f"{files.root / label}, line {line}: {row.strip()[:40]!r} is no row of a label file.",
                    "A row is a class number, then x and y of the middle, width and height as fractions of the image.",
                )
    raise UserError(
        f"All label files of {files.root} are empty: {shortened([path.as_posix() for path in labels])}.",
        "Annotate at least one object.",
    )


def require_readable_images(files: FolderFiles) -> None:
    """Refuse a folder in which no image is of a kind that is read.

    Raises:
        UserError: it names the first of them.
    """
    unread = [] if files.images else unread_images(files)
    if unread:
        raise UserError(
            f"The images of {files.root} are of a kind that is not read: "
            f"{shortened([path.as_posix() for path in unread])}.",
            "Save them as JPEG or PNG, under the same names.",
        )


def _names_of(data: DataYaml, files: FolderFiles, is_chosen: bool) -> tuple[dict[int, str], Path]:
    if data.names and is_chosen:
        return data.names, data.file
    names, file = read_names_files(find_names_files(files))
    if data.names and file is not None:
        require_same_numbers(data.file, data.names, file, names)
    return (data.names, data.file) if data.names or file is None else (names, file)


def _holds_labels(files: FolderFiles) -> bool:
    """Whether one of the first text files that may be label files and are not empty looks like one."""
    labels = label_texts(files) if files.images else []
    looks = (looks_like_labels(files.root / path) for path in labels)
    return any(itertools.islice((look for look in looks if look is not None), _NUM_PEEKED))


def _named_split(data: DataYaml, stated: Sequence[str]) -> FoundSplit:
    found = list(filter(None, (find_images(text, data.folders) for text in stated)))
    file = longest_end(stated[0], data.folders) if len(stated) == 1 else None
    images, missing = (itertools.chain(*parts) for parts in (zip(*found, strict=True) if found else ((), ())))
    return _split(file or data.file, images, missing)


def _split(file: Path, images: Iterable[Path], missing: Iterable[str]) -> FoundSplit:
    return FoundSplit(file, tuple(dict.fromkeys(images)), tuple((kinds.MISSING_IMAGE, text) for text in missing))


def _splits_by_list(files: FolderFiles) -> dict[str, FoundSplit]:
    """Splits of `train.txt` and so on, at the top of the folder or in `ImageSets`.

    Raises:
        UserError: a list leads to no image, or to one in the folder of another split, or a split has two lists.
    """
    splits: dict[str, FoundSplit] = {}
    for path in _split_lists(files):
        name = str(split_name(path.stem))
        if name in splits:
            raise UserError(f"Two lists for the split {name}: {splits[name].file} and {path}.", "Keep one of them.")
        images, missing = find_images(path.as_posix(), [files.root]) or ([], [])
        if not any(map(is_image, images)):
            line = read_text(files.root / path).strip().split("\n")[0]
            raise UserError(
                f"No line of {files.root / path} leads to an image; the first is {line!r}.",
                "Write the path of an image into each line, such as images/a.jpg, or delete the list.",
            )
        splits[name] = _split(files.root / path, images, missing)
    _require_own_folders(files, splits)
    return _with_strays(files, {name: splits[name] for name in SPLITS if name in splits})


def _split_lists(files: FolderFiles) -> list[Path]:
    """The lists of splits: text files with lines that are no labels of an image called `train.jpg` or so."""
    texts = [path for path in files.ending(".txt") if split_name(path.stem) is not None]
    texts = [path for path in texts if len(path.parts) == 1 or path.parts[0].lower() == "imagesets"]
    return [path for path in texts if read_text(files.root / path).strip() and not looks_like_labels(files.root / path)]


def _require_own_folders(files: FolderFiles, splits: dict[str, FoundSplit]) -> None:
    """Refuse lists that put an image into another split than its folder does, where both splits have a folder."""
    in_folder = {split_of_path(path) for path in files.images}
    for name, split in splits.items():
        for image in split.paths if name in in_folder else ():
            path = Path(name_below(image, files.root))
            if split_of_path(path) not in (None, name):
                raise UserError(
                    f"{split.file} lists {path.as_posix()}, which the folder puts into {split_of_path(path)}.",
                    "Delete the lists, or write a data.yaml that names them: train: train.txt, val: val.txt.",
                )


def _with_strays(files: FolderFiles, splits: dict[str, FoundSplit]) -> dict[str, FoundSplit]:
    """Splits of lists, the first with the labelled images that none of them lists."""
    listed = {image.resolve() for split in splits.values() for image in split.paths}
    labelled = {folded(label.stem) for label in label_texts(files)} if splits else set()
    strays = [path for path in files.images if not labelled.isdisjoint({folded(path.name), folded(path.stem)})]
    strays = [path for path in strays if (files.root / path).resolve() not in listed]
    for name, split in itertools.islice(splits.items(), 1):
        faults = tuple((kinds.OUTSIDE_OF_SPLITS, path.as_posix()) for path in strays)
        return {**splits, name: replace(split, faults=split.faults + faults)}
    return splits


def _passed_over(data: DataYaml, files: FolderFiles, splits: dict[str, FoundSplit]) -> Iterator[str]:
    stated = {Path(text).name for text in itertools.chain(*data.splits.values())}
    for path in (path for path in _split_lists(files) if path.name not in stated):
        images, _ = find_images(path.as_posix(), [files.root]) or ([], [])
        split = splits.get(str(split_name(path.stem)))
        own = {image.resolve() for image in split.paths} if split else set()
        if own != {image.resolve() for image in images}:
            yield path.as_posix()


def _splits_by_folder(files: FolderFiles) -> dict[str, FoundSplit]:
    in_folder = [path for path in files.images if any(part.lower() in IMAGE_FOLDERS for part in path.parts[:-1])]
    images = in_folder or files.images
    _require_one_word(files, images)
    splits = splits_by_folder(images, lambda _, paths: common_folder((files.root / path for path in paths), files.root))
    return {
        name: replace(split, paths=tuple(files.root / path for path in split.paths)) for name, split in splits.items()
    }


def _require_one_word(files: FolderFiles, images: Iterable[Path]) -> None:
    """Refuse folders with different names that mean one split, such as `val` and `valid`."""
    words: dict[str, dict[str, Path]] = {}
    for path in images:
        folders = [folder for folder in reversed(path.parents) if split_name(folder.name) is not None]
        for folder in folders[:1]:
            words.setdefault(str(split_name(folder.name)), {}).setdefault(folder.name.lower(), folder)
    for name, folders_by_word in words.items():
        if len(folders_by_word) > 1:
            listed = " and ".join(sorted(folder.as_posix() for folder in folders_by_word.values()))
            raise UserError(
                f"{files.root} has two folders for the split {name}: {listed}.", "Keep or merge one of them."
            )


def _source(folder: _YoloFolder) -> DataSource:
    reader = _YoloReader(folder)
    splits = {name: reader.source_split(name) for name in folder.splits}
    return DataSource(folder.files.root, "YOLO", splits, folder.names_file if folder.names else None)


class _Labelled(NamedTuple):
    """An image and its label file, read; `where` is the file's name in messages, or the image's where it has none."""

    image: Path
    where: str
    rows: list[YoloRow]
    faults: list[Fault]


class _YoloReader:
    """Reads the labels of all splits, because missing names are made up for the whole dataset."""

    def __init__(self, folder: _YoloFolder) -> None:
        self.folder, self.root = folder, folder.files.root

    def source_split(self, name: str) -> SourceSplit:
        split = self.folder.splits[name]
        image_dir = common_folder(split.paths, self.root)
        return SourceSplit(name, split.file, image_dir, cache(partial(self._read, name, image_dir)))

    @cached_property
    def _labelled(self) -> dict[str, list[_Labelled]]:
        return {name: [self._look_up(image) for image in split.paths] for name, split in self.folder.splits.items()}

    @cached_property
    def _names(self) -> dict[int, str]:
        numbers = {row.number for row in self._rows()}
        return self.folder.names or numbered_names(numbers, self.folder.num_classes)

    @cached_property
    def _pairs(self) -> LabelPairs:
        return pair_labels((split.paths for split in self.folder.splits.values()), self.folder.files)

    @cached_property
    def _kind_of_rows(self) -> FaultKind:
        return kind_of_rows(row.shape for row in self._rows())

    def _rows(self) -> Iterator[YoloRow]:
        return (row for entry in itertools.chain(*self._labelled.values()) for row in entry.rows)

    def _look_up(self, image: Path) -> _Labelled:
        label = self._pairs.labels.get(image)
        if label is None:
            return _Labelled(image, name_below(image, self.root), [], [])
        where = name_below(label, self.root)
        return _Labelled(image, where, *read_label_file(label, where, self.folder.num_keypoint_columns))

    def _read(self, name: str, image_dir: Path) -> SplitContent:
        entries = self._labelled[name]
        own = {entry.image for entry in entries}
        is_first = name == next(iter(self.folder.splits))
        usable = (self._usable(entry) for entry in entries)
        images = [
            SourceImage(entry.image, entry.where, None, partial(self._boxes, entry))
            for entry in usable
            if entry.rows or not entry.faults  # else nothing can be read: the image is not one without objects
        ]
        dataset, unreadable = make_dataset(images, self._names, image_dir)
        faults = itertools.chain(
            self._faults_of_all() if is_first else (),
            self.folder.splits[name].faults,
            (fault for image, fault in self._pairs.faults if image in own),
            *(entry.faults for entry in entries),
            *(self._unknown_classes(entry) for entry in entries),
            *(self._long_rows(entry) for entry in entries),
            unreadable,
        )
        split_file = self.folder.splits[name].file
        read = [*sorted(self._pairs.labels[image] for image in own if image in self._pairs.labels)]
        read += [split_file] if split_file.is_file() else []
        files = {file: name_below(file, self.root) for file in read}
        return SplitContent(dataset, findings_of(faults), {**self.folder.other_files, **files} if is_first else files)

    def _faults_of_all(self) -> Iterator[Fault]:
        yield from self.folder.faults
        yield from name_faults(self._names.values(), self.folder.names_file.name)
        if self._names and not self.folder.names:
            yield kinds.NUMBERED_NAMES, f"{len(self._names)} classes"
        yield from (fault for image, fault in self._pairs.faults if image is None)

    def _unknown_classes(self, entry: _Labelled) -> Iterator[Fault]:
        for row in entry.rows:
            if row.number not in self._names:
                known = f"{self.folder.names_file.name} has {len(self._names)} names, numbered from {min(self._names)}"
                yield kinds.UNKNOWN_CLASS, f"{entry.where}, line {row.line}: class {row.number}, but {known}"

    def _long_rows(self, entry: _Labelled) -> Iterator[Fault]:
        """Rows of more than four numbers, which may mean two things where `data.yaml` does not say which."""
        if self.folder.num_keypoint_columns is None:
            for row in entry.rows:
                if row.shape != "box":
                    yield self._kind_of_rows, f"{entry.where}, line {row.line}"

    def _usable(self, entry: _Labelled) -> _Labelled:
        """The image without rows that are refused: what their box would be is not known."""
        refused = [] if self._kind_of_rows == kinds.POLYGON_ROW else list(self._long_rows(entry))
        if not refused:
            return entry
        rows = [row for row in entry.rows if row.shape == "box"]
        return entry._replace(rows=rows, faults=[*entry.faults, *refused])

    def _boxes(self, entry: _Labelled, size: ImageSize) -> Iterator[SourceObject]:
        for row in entry.rows:
            if row.number in self._names:
                box = box_xywh(row.box_xyxy_norm, size)
                yield SourceObject(row.number, box, f"{entry.where}, line {row.line}")
