"""Read a data set in Pascal VOC format."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

from brs_detr.data.findings import MISSING_IMAGE, FaultKind, kind_of
from brs_detr.data.formats.source_dataset import SourceImage, SourceObject, make_dataset
from brs_detr.data.formats.source_faults import (
    LABEL_WITHOUT_IMAGE,
    UNANNOTATED_IMAGE,
    UNREAD_SUFFIX,
    Fault,
    findings_of,
)
from brs_detr.data.formats.source_files import FolderFiles, common_folder, folded, name_below
from brs_detr.data.formats.source_names import name_faults
from brs_detr.data.formats.source_sizes import ImageSize, read_sizes
from brs_detr.data.formats.source_split import DataSource, SourceSplit, SplitContent, split_of_path
from brs_detr.data.formats.voc_file import OTHER_XML, VocImage, VocObject, read_voc_file
from brs_detr.data.formats.voc_folder import VocFolder, VocSplit, find_voc
from brs_detr.data.formats.voc_pairs import likely_images, pair_images
from brs_detr.errors import shortened
from brs_detr.runtime.images import UnreadableImage, is_other_image

COUNTS_FROM_ZERO = FaultKind(
    "box that begins below 1, so that pixels are taken as counted from 0",
    "All boxes of the data set are kept as they are. If its tool counts from 1, as Pascal VOC does, mend these.",
    "note",
)

NO_IMAGE_FOUND = FaultKind(
    "split in which no annotation file has its image",
    "Give images of a kind that is read, such as JPEG, the names of their annotation files, or put them where the "
    "folders of these are.",
)
WIDTH_FOR_CORNER = FaultKind(
    "box that may have its width and height where xmax and ymax belong",
    "Look at one. If it is right when read so, write xmax = xmin + width and ymax = ymin + height; otherwise exchange "
    "xmin and xmax, or ymin and ymax, where the first is greater.",
)


def open_voc(files: FolderFiles) -> DataSource | None:
    """Open a data set in Pascal VOC format.

    Args:
        files: the folder.

    Returns:
        Its splits, None when the folder is in another format. Class names are those of all splits, sorted.
    """
    folder = find_voc(files)
    if folder is None:
        return None
    reader = _VocReader(folder)
    splits = {name: reader.source_split(name, split) for name, split in folder.splits.items()}
    return DataSource(files.root, "Pascal VOC", splits)


@dataclass(frozen=True)
class _Located:
    """An annotation file, read, and the image that it belongs to, or why there is none."""

    said: VocImage
    image: Path | Fault

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the file. Without an image it may be of another kind: it is no part of the data set."""
        has_image = isinstance(self.image, Path)
        return tuple(fault for fault in self.said.faults if has_image or fault[0] != OTHER_XML)


class _VocReader:
    """Reads all splits at once, because class names and the counting of pixels are those of the whole data set."""

    def __init__(self, folder: VocFolder) -> None:
        self.folder, self.root = folder, folder.files.root

    def source_split(self, name: str, split: VocSplit) -> SourceSplit:
        images = likely_images(split.annotations, self.folder.files.images)
        image_dir = common_folder((self.root / image for image in images), otherwise=self.root)
        return SourceSplit(name, split.file, image_dir, cache(partial(self._read, name, image_dir)))

    def _no_image(self, path: Path) -> Fault:
        """What it means that there is no image: one on the list of a split was meant to be used."""
        where = path.as_posix()
        others = self._other_images.get(folded(path.stem))
        if self.folder.is_listed:
            return MISSING_IMAGE, f"{where}; {shortened(others, 3)} is of a kind that is not read" if others else where
        return (UNREAD_SUFFIX, f"{where}: {shortened(others, 3)}") if others else (LABEL_WITHOUT_IMAGE, where)

    @cached_property
    def _other_images(self) -> dict[str, list[str]]:
        """Files by their stem that are images of another kind by their suffix, or have none."""
        others: dict[str, list[str]] = {}
        for path in self.folder.files.paths:
            if not path.suffix or is_other_image(path.suffix.lower()):
                others.setdefault(folded(path.stem), []).append(path.as_posix())
        return others

    @cached_property
    def _located(self) -> dict[str, list[_Located]]:
        paths = dict.fromkeys(itertools.chain(*(split.annotations for split in self.folder.splits.values())))
        said = {path: read_voc_file(self.root / path, path.as_posix()) for path in paths}
        files = self.folder.files
        images = pair_images(said, files.images, (path for path in files.ending(".xml") if path not in said))
        return {
            name: [
                _Located(said[path], images[path] if path in images else self._no_image(path))
                for path in split.annotations
            ]
            for name, split in self.folder.splits.items()
        }

    @cached_property
    def _class_numbers(self) -> dict[str, int]:
        names = sorted({thing.name for _, thing in self._objects()})
        return {name: number for number, name in enumerate(names)}

    @cached_property
    def _from_zero(self) -> list[str]:
        """The boxes that show that the first pixel is called 0."""
        return [
            f"{where}, object {thing.number}: xmin {thing.corners[0]:g}, ymin {thing.corners[1]:g}"
            for where, thing in self._objects()
            if min(thing.corners[:2]) < 1
        ]

    def _objects(self) -> Iterator[tuple[str, VocObject]]:
        for entry in itertools.chain(*self._located.values()):
            for thing in entry.said.objects:
                yield entry.said.where, thing

    def _read(self, name: str, image_dir: Path) -> SplitContent:
        entries = self._located[name]
        images, unreadable = self._images(entries)
        names = {number: name for name, number in self._class_numbers.items()}
        faults = itertools.chain(
            self.folder.splits[name].faults,
            *(entry.faults for entry in entries),
            dict.fromkeys(entry.image for entry in entries if not isinstance(entry.image, Path)),
            self._all_lost(entries),
            ((UNANNOTATED_IMAGE, path.as_posix()) for path in self._unannotated(name)),
            unreadable,
            self._faults_of_all(names.values()) if name == next(iter(self.folder.splits)) else (),
        )
        files = {self.root / entry.said.where: entry.said.where for entry in entries}
        if self.folder.is_listed:
            listed = self.folder.splits[name].file
            files[listed] = name_below(listed, self.root)
        return SplitContent(make_dataset(images, names, image_dir), findings_of(faults), files)

    def _faults_of_all(self, names: Iterable[str]) -> Iterator[Fault]:
        """What concerns the data set as a whole; the first split says it."""
        yield from ((COUNTS_FROM_ZERO, text) for text in self._from_zero)
        yield from self._widths()
        yield from name_faults(names, self.root.name)

    def _all_lost(self, entries: list[_Located]) -> Iterator[Fault]:
        """Both sides, where there are annotation files and none finds its image."""
        images = shortened([path.as_posix() for path in self.folder.files.images], 3)
        if not images and self._other_images:
            images = f"of a kind that is not read, as {next(iter(self._other_images.values()))[0]}"
        faults = [entry.image for entry in entries if not isinstance(entry.image, Path)]
        if entries and len(entries) == sum(kind in (LABEL_WITHOUT_IMAGE, UNREAD_SUFFIX) for kind, _ in faults):
            yield NO_IMAGE_FOUND, f"{entries[0].said.where} and the others; the images are {images or 'nowhere'}"

    def _widths(self) -> Iterator[Fault]:
        """Corners out of order, where the far one is a width and a height for all that the boxes say."""
        entries = [entry.said for entry in itertools.chain(*self._located.values()) if entry.said.objects]
        swapped = [
            f"{said.where}, object {thing.number}" for said in entries for thing in said.objects if thing.is_swapped
        ]
        if swapped and all(_fits_as_width(thing, said.size) for said in entries for thing in said.objects):
            yield from ((WIDTH_FOR_CORNER, text) for text in swapped)

    def _images(self, entries: list[_Located]) -> tuple[list[SourceImage], list[Fault]]:
        usable = [
            (entry.said, self.root / entry.image)
            for entry in entries
            if isinstance(entry.image, Path) and entry.said.is_readable
        ]
        unstated = [path for said, path in usable if said.size is None]
        measured = dict(zip(unstated, read_sizes(unstated), strict=True))
        images: list[SourceImage] = []
        faults: list[Fault] = []
        for said, path in usable:
            size = said.size or measured[path]
            if isinstance(size, UnreadableImage):
                faults.append((kind_of(size), size.message))
            else:
                images.append(self._image(said, path, size))
        return images, faults

    def _image(self, said: VocImage, path: Path, size: ImageSize) -> SourceImage:
        origin = 0 if self._from_zero else 1
        objects = tuple(
            SourceObject(
                self._class_numbers[thing.name],
                box_xywh(thing.corners, origin),
                f"{said.where}, object {thing.number}",
                thing.is_difficult,
            )
            for thing in said.objects
        )
        return SourceImage(path, size, said.where, objects)

    def _unannotated(self, name: str) -> list[Path]:
        """Images of a split that no annotation file belongs to. Lists of splits leave images out on purpose."""
        if self.folder.is_listed:
            return []
        used = {entry.image for entry in itertools.chain(*self._located.values())}
        wanted = None if name == "all" else name
        return [path for path in self.folder.files.images if path not in used and split_of_path(path) == wanted]


def _fits_as_width(thing: VocObject, size: ImageSize | None) -> bool:
    """Whether a box is on its image when xmax and ymax are read as its width and height."""
    xmin, ymin, xmax, ymax = thing.corners
    return size is None or (xmin + xmax <= size[1] + 1 and ymin + ymax <= size[0] + 1)


def box_xywh(corners: tuple[float, float, float, float], origin: int) -> tuple[float, float, float, float]:
    """Box (x, y, width, height) counted from 0.

    Args:
        corners: (xmin, ymin, xmax, ymax) as written.
        origin: what the first pixel is called. When it is 1, the last pixel belongs to the box, which is then one
            wider and higher than the difference of its corners. A side that ends where it begins, or before, is not:
            tools write it for a click without a drag, so that it stays a side without length.
    """
    xmin, ymin, xmax, ymax = corners
    width, height = (length + origin * (length > 0) for length in (xmax - xmin, ymax - ymin))
    return xmin - origin, ymin - origin, width, height
