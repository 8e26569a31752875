"""Read a data set in YOLO format."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache, cached_property, partial
from pathlib import Path
from typing import NamedTuple

from brs_detr.data.findings import FaultKind, kind_of
from brs_detr.data.formats.source_dataset import SourceImage, SourceObject, make_dataset
from brs_detr.data.formats.source_faults import Fault, findings_of
from brs_detr.data.formats.source_files import FolderFiles, common_folder, list_files, name_below
from brs_detr.data.formats.source_names import name_faults
from brs_detr.data.formats.source_sizes import ImageSize, read_sizes
from brs_detr.data.formats.source_split import DataSource, SourceSplit, SplitContent
from brs_detr.data.formats.yolo_folder import YoloFolder, find_yolo, follow_yaml
from brs_detr.data.formats.yolo_labels import YoloRow, box_xywh, read_label_file
from brs_detr.data.formats.yolo_names import NUMBERED_NAMES, numbered_names
from brs_detr.data.formats.yolo_pairs import LabelPairs, pair_labels
from brs_detr.data.formats.yolo_polygons import POLYGON_ROW, kind_of_rows
from brs_detr.data.formats.yolo_yaml import read_data_yaml
from brs_detr.runtime.images import UnreadableImage

UNKNOWN_CLASS = FaultKind("class number without a name", "Add the name to the list of names, or mend the number.")


def open_yolo(files: FolderFiles, names_file: Path | None = None) -> DataSource | None:
    """Open a data set in YOLO format that no YAML file describes; None when the folder is in another format.

    Args:
        files: the folder.
        names_file: file with the class names, where it was chosen among several.

    Raises:
        UserError: a list or a file with class names cannot be used.
    """
    folder = find_yolo(files, names_file)
    return None if folder is None else _source(folder)


def open_data_yaml(file: Path, files: FolderFiles | None = None, is_chosen: bool = False) -> DataSource:
    """Open the data set in YOLO format that a YAML file describes.

    Args:
        file: the YAML file.
        files: its folder, when that has been listed already.
        is_chosen: whether the user gave this file, so that its class names count, whatever others lie beside it.

    Raises:
        UserError: the file cannot be used, or there are no images where it says they are.
    """
    return _source(follow_yaml(read_data_yaml(file), files or list_files(file.parent), is_chosen))


def _source(folder: YoloFolder) -> DataSource:
    reader = _YoloReader(folder)
    splits = {name: reader.source_split(name) for name in folder.splits}
    return DataSource(folder.files.root, "YOLO", splits, folder.names_file if folder.names else None)


class _Labelled(NamedTuple):
    """An image and its label file, read; `where` is what a message calls the file, or the image where it has none."""

    image: Path
    where: str
    rows: list[YoloRow]
    faults: list[Fault]

    @property
    def is_readable(self) -> bool:
        """Whether anything in the label file could be read; if not, the image is not one without objects."""
        return bool(self.rows) or not self.faults


class _YoloReader:
    """Reads the labels of all splits, because names that are missing are made up for the whole data set."""

    def __init__(self, folder: YoloFolder) -> None:
        self.folder, self.root = folder, folder.files.root

    def source_split(self, name: str) -> SourceSplit:
        split = self.folder.splits[name]
        image_dir = common_folder(split.images, self.root)
        return SourceSplit(name, split.file, image_dir, cache(partial(self._read, name, image_dir)))

    @cached_property
    def _labelled(self) -> dict[str, list[_Labelled]]:
        return {name: [self._look_up(image) for image in split.images] for name, split in self.folder.splits.items()}

    @cached_property
    def _names(self) -> dict[int, str]:
        every = itertools.chain(*self._labelled.values())
        numbers = {row.number for entry in every for row in entry.rows}
        return self.folder.names or numbered_names(numbers, self.folder.num_classes)

    @cached_property
    def _pairs(self) -> LabelPairs:
        return pair_labels((split.images for split in self.folder.splits.values()), self.folder.files)

    @cached_property
    def _kind_of_rows(self) -> FaultKind:
        return kind_of_rows(row.shape for entry in itertools.chain(*self._labelled.values()) for row in entry.rows)

    def _look_up(self, image: Path) -> _Labelled:
        label = self._pairs.labels.get(image)
        if label is None:
            return _Labelled(image, name_below(image, self.root), [], [])
        where = name_below(label, self.root)
        return _Labelled(image, where, *read_label_file(label, where, self.folder.num_keypoint_columns))

    def _read(self, name: str, image_dir: Path) -> SplitContent:
        entries = self._labelled[name]
        own = {entry.image for entry in entries}
        images, unreadable = self._images([usable for usable in map(self._usable, entries) if usable.is_readable])
        faults = itertools.chain(
            self._faults_of_all() if name == next(iter(self.folder.splits)) else (),
            self.folder.splits[name].faults,
            (fault for image, fault in self._pairs.faults if image in own),
            *(entry.faults for entry in entries),
            *(self._unknown_classes(entry) for entry in entries),
            *(self._polygons(entry) for entry in entries),
            unreadable,
        )
        labels = (self._pairs.labels[image] for image in own if image in self._pairs.labels)
        files = {label: name_below(label, self.root) for label in sorted(labels)}
        split_file = self.folder.splits[name].file
        if split_file.is_file():
            files[split_file] = name_below(split_file, self.root)
        if name == next(iter(self.folder.splits)):
            files = {**self.folder.other_files, **files}
        return SplitContent(make_dataset(images, self._names, image_dir), findings_of(faults), files)

    def _faults_of_all(self) -> Iterator[Fault]:
        """What concerns the data set as a whole; the first split says it."""
        names_file = self.folder.names_file.name
        yield from self.folder.faults
        yield from name_faults(self._names.values(), names_file)
        if self._names and not self.folder.names:
            yield NUMBERED_NAMES, f"{len(self._names)} classes"
        yield from (fault for image, fault in self._pairs.faults if image is None)

    def _unknown_classes(self, entry: _Labelled) -> Iterator[Fault]:
        for row in entry.rows:
            if row.number not in self._names:
                known = f"{self.folder.names_file.name} has {len(self._names)} names, numbered from {min(self._names)}"
                yield UNKNOWN_CLASS, f"{entry.where}, line {row.line}: class {row.number}, but {known}"

    def _polygons(self, entry: _Labelled) -> Iterator[Fault]:
        """Rows with more than four numbers, which may mean two things where `data.yaml` does not say which."""
        for row in entry.rows:
            if self._is_ambiguous(row):
                yield self._kind_of_rows, f"{entry.where}, line {row.line}"

    def _is_ambiguous(self, row: YoloRow) -> bool:
        return row.shape != "box" and self.folder.num_keypoint_columns is None

    def _usable(self, entry: _Labelled) -> _Labelled:
        """The image without rows that are refused: what their box would be is not known."""
        if self._kind_of_rows == POLYGON_ROW:
            return entry
        rows = [row for row in entry.rows if not self._is_ambiguous(row)]
        refused = [(self._kind_of_rows, entry.where)] * (len(entry.rows) - len(rows))
        return entry._replace(rows=rows, faults=[*entry.faults, *refused])

    def _images(self, entries: list[_Labelled]) -> tuple[list[SourceImage], list[Fault]]:
        images: list[SourceImage] = []
        faults: list[Fault] = []
        for entry, size in zip(entries, read_sizes(entry.image for entry in entries), strict=True):
            if isinstance(size, UnreadableImage):
                faults.append((kind_of(size), size.message))
            else:
                images.append(self._image(entry, size))
        return images, faults

    def _image(self, entry: _Labelled, size: ImageSize) -> SourceImage:
        objects = tuple(
            SourceObject(row.number, box_xywh(row.box_xyxy_norm, size), f"{entry.where}, line {row.line}")
            for row in entry.rows
            if row.number in self._names
        )
        return SourceImage(entry.image, size, entry.where, objects)
