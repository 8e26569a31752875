"""Find and read datasets in Pascal VOC format, whichever tool laid out the folder."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path, PurePath, PureWindowsPath
from typing import NamedTuple

from brs_detr.data import kinds
from brs_detr.data.findings import Fault, findings_of
from brs_detr.data.formats.layout import (
    MAX_PATH,
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
    indexed,
    joined,
    make_dataset,
    name_below,
    name_faults,
    split_name,
    split_of_path,
    splits_by_folder,
)
from brs_detr.data.formats.voc_file import VocImage, VocObject, read_voc_file
from brs_detr.data.images import ImageSize
from brs_detr.data.text import MAX_LABEL_BYTES, content_of, read_text
from brs_detr.errors import UserError, shortened
from brs_detr.runtime.images import SUFFIXES, is_other_image

_NUM_PEEKED = 20
_HEAD = 4096  # bytes in which the root element must begin
_ROOT = re.compile(rb"<(?:\w+:)?annotation[\s>]", re.IGNORECASE)
_SUFFIXES = {".xml", *SUFFIXES}
_COLUMN = re.compile(r"\s+-?[01]$")  # in the list of one class: absent, difficult, present
_PAIR = re.compile(r"\.\w+\s+(\S.*\.xml)$", re.IGNORECASE)  # an image and its annotation file


def open_voc(files: FolderFiles) -> DataSource | None:
    """Open a dataset in Pascal VOC format, None where a folder is in another format.

    The splits are those of `train.txt`, `val.txt` and `test.txt` in `ImageSets/Main`, `ImageSets` or the folder itself,
    or else in another folder of `ImageSets`; otherwise those whose folders the files are in, otherwise `all`. Class
    names are those of all splits, sorted.

    Raises:
        UserError: a list is not UTF-8, two lists of one split differ, or there are only lists of classes.
    """
    annotations = files.ending(".xml")
    is_classic = {"jpegimages", "annotations"} <= {path.parts[0].lower() for path in files.paths}
    if not annotations or not (is_classic or any(_is_voc(files.root / path) for path in annotations[:_NUM_PEEKED])):
        return None
    listed = _listed_splits(files, annotations)
    splits = listed or splits_by_folder(annotations, partial(_split_folder, files.root))
    reader = _VocReader(files, splits, is_listed=bool(listed))
    return DataSource(files.root, "Pascal VOC", {name: reader.source_split(name) for name in splits})


def _is_voc(file: Path) -> bool:
    try:
        return _ROOT.search(content_of(file, MAX_LABEL_BYTES)[:_HEAD].replace(b"\0", b"")) is not None  # as of UTF-16
    except OSError:  # reading it says why
        return False


def _listed_splits(files: FolderFiles, annotations: Iterable[Path]) -> dict[str, FoundSplit]:
    lists = _lists(files)
    if not lists:
        return {}
    known = _by_name(annotations)
    known = _by_path(files, annotations, known) | known
    splits: dict[str, FoundSplit] = {}
    for name, path in lists:
        split = _read_list(files.root, path, known)
        first = splits.setdefault(name, split)
        if set(first.paths) != set(split.paths):
            raise UserError(f"Two lists for the split {name}: {first.file} and {split.file}.", "Keep one of them.")
    both = splits.pop("trainval", None)
    if both is not None and "train" not in splits:
        held_out = set(splits["val"].paths) if "val" in splits else set()
        splits["train"] = replace(both, paths=tuple(path for path in both.paths if path not in held_out))
    return {name: splits[name] for name in SPLITS if name in splits and (splits[name].paths or splits[name].faults)}


def _lists(files: FolderFiles) -> list[tuple[str, Path]]:
    """The lists by split, or `trainval`, those in the most usual folder first."""
    folders = {("imagesets", "main"): 0, ("imagesets",): 1, (): 2}
    texts = [path for path in files.ending(".txt") if path.parts[0].lower() == "imagesets" or len(path.parts) == 1]
    ranked = [(folders.get(tuple(part.lower() for part in path.parts[:-1]), 3), path) for path in texts]
    lists = [(rank, name, path) for rank, path in ranked if (name := _listed_name(path.stem)) is not None]
    usual = any(rank < 3 for rank, _, _ in lists)
    found = [(name, path) for rank, name, path in sorted(lists) if not usual or rank < 3]
    of_class = [path for path in texts if len(path.parts) > 1 and _listed_name(path.stem.rpartition("_")[2])]
    if of_class and not found:
        raise UserError(
            f"No list of a split, only lists of single classes: {files.root / of_class[0]}.",
            f"Write the names of all images of each split into {of_class[0].parent.as_posix()}/train.txt and val.txt, "
            "or delete the lists.",
        )
    return found


def _listed_name(stem: str) -> str | None:
    """The split that a list such as `train` or `train_list` is named after, or `trainval`."""
    name = stem.lower().removesuffix("_list")
    return name if name in ("trainval", "all") else split_name(name)


def _by_name(annotations: Iterable[Path]) -> dict[str, list[Path]]:
    """Annotation files by their stem, by their path below `Annotations`, and by both in other capitals."""
    known: dict[str, list[Path]] = {}
    for path in annotations:
        known.setdefault(path.stem, []).append(path)
    known |= {"/".join((*path.parts[1:-1], path.stem)): [path] for path in annotations}
    loose: dict[str, list[Path]] = {}
    for name, paths in known.items():
        loose.setdefault(folded(name), []).extend(paths)
    return loose | known


def _by_path(files: FolderFiles, annotations: Iterable[Path], known: Mapping[str, list[Path]]) -> dict[str, list[Path]]:
    """Annotation files by their path and by that of their image, with the suffix and without, in any capitals."""
    paths = {path: [path] for path in annotations}
    for image in files.images:
        below = "/".join((*image.parts[1:-1], image.stem))
        paths[image] = next((known[key] for key in (below, folded(below), image.stem) if key in known), [])
    named: dict[str, list[Path]] = {}
    for path, found in paths.items():
        for name in (path.as_posix(), path.with_suffix("").as_posix()):
            named[name] = named[folded(name)] = found
    return {name: found for name, found in named.items() if found}


def _read_list(root: Path, path: Path, known: Mapping[str, list[Path]]) -> FoundSplit:
    lines = dict.fromkeys(line.strip().strip('"') for line in read_text(root / path).split("\n"))
    paths: dict[Path, None] = {}
    faults: list[Fault] = []
    for line in filter(None, lines):
        name = _name_of(line, known) if len(line) <= MAX_PATH else line
        match known.get(name) or known.get(folded(name), []):
            case [annotation]:
                paths[annotation] = None
            case []:
                faults.append((kinds.MISSING_LABEL_FILE, f"{name}.xml, named in {path.as_posix()}"))
            case several:
                faults.append((kinds.UNCLEAR_LINE, f"{name}, named in {path.as_posix()}: {joined(several)}"))
    return FoundSplit(root / path, tuple(paths), tuple(faults))


def _name_of(line: str, known: Container[str]) -> str:
    """The name in a line of a list, a known one where possible.

    It is the line itself, or the line without the column behind it, without the suffix of a file, without the image
    before it, or without the first folders of a path to a file of the dataset.
    """
    name = _COLUMN.sub("", line).strip('"')
    pair = _PAIR.search(name)
    path = PurePath((pair[1] if pair else name).replace("\\", "/"))
    bare = path.with_suffix("").as_posix() if path.suffix.lower() in _SUFFIXES else path.as_posix()
    otherwise = path.stem if path.is_absolute() or path.suffix.lower() in SUFFIXES else bare
    whole = [line, name, path.as_posix(), bare]
    tails = ["/".join(path.parts[start:]) for start in range(1, len(path.parts))]
    inside = [tail for tail in tails if "/" in tail or PurePath(tail).suffix]
    return next((name for name in (*whole, *inside) if name in known or folded(name) in known), otherwise)


def _split_folder(root: Path, name: str, annotations: list[Path]) -> Path:
    if name == "all":
        return root
    parts = annotations[0].parts
    depth = next(count for count, part in enumerate(parts, start=1) if split_name(part) == name)
    return root.joinpath(*parts[:depth])


def pair_images(
    annotations: Mapping[Path, VocImage], images: Sequence[Path], others: Iterable[Path] = ()
) -> dict[Path, Path | Fault]:
    """Find the image of each annotation file.

    It is the image of the same name without suffix, otherwise the one that `<filename>` names. Of several with one
    name, `<filename>` chooses, then the nearest folder, then the folders that the file states.

    Args:
        annotations: files by their path relative to the dataset.
        images: relative paths of all images.
        others: annotation files of no split, which are not read.

    Returns:
        By annotation file the image, or why it is in doubt. Files without an image have no entry.
    """
    pairing = _Pairing(annotations, images, others)
    found = {path: pairing.find(path) for path in annotations}
    pairs: dict[Path, Path | Fault] = {path: fault for path, fault in found.items() if isinstance(fault, tuple)}
    files: dict[Path, list[Path]] = {}
    for path, image in found.items():
        if isinstance(image, Path):
            files.setdefault(image, []).append(path)
    for image, paths in files.items():
        nearest = _least(paths, lambda path, image=image: (_distance(path.parent, image.parent),))
        where = ", ".join(annotations[path].where for path in nearest)
        fault = (kinds.SHARED_IMAGE, f"{image.as_posix()}: {where}")
        pairs |= dict.fromkeys(nearest, image if len(nearest) == 1 else fault)
    return pairs


def likely_images(annotations: Iterable[Path], images: Iterable[Path]) -> list[Path]:
    """Images that annotation files may belong to by their names alone; all paths are relative to the dataset."""
    by_stem = indexed(images, lambda path: path.stem)
    return [image for path in annotations for image in _nearest(path, _same_stem(by_stem, path.stem), ())]


class _Pairing:
    def __init__(self, annotations: Mapping[Path, VocImage], images: Sequence[Path], others: Iterable[Path]) -> None:
        self.annotations = annotations
        self.by_stem = indexed(images, lambda path: path.stem)
        self.by_name = indexed(images, lambda path: path.name)
        self.owners = indexed([*annotations, *others], lambda path: path.stem)

    def find(self, path: Path) -> Path | Fault | None:
        said = self.annotations[path]
        own = _same_stem(self.by_stem, path.stem)
        named = self.by_name.get(folded(said.image_name), [])
        if own and not set(own) & set(named) and not all(map(self._is_owned, named)):
            return kinds.MISNAMED_LABEL, f"{said.where}: {joined(own)}, or {joined(named)} as <filename> says"
        if not own:
            named = named or _same_stem(self.by_stem, PurePath(said.image_name).stem)
            own = named = [image for image in named if not self._is_owned(image)]
        chosen = set(named)
        best = _nearest(path, [image for image in own if image in chosen] or own, said.image_paths)
        if len(best) > 1:
            return kinds.AMBIGUOUS_IMAGE, f"{said.where}: {joined(best)}"
        return best[0] if best else None

    def _is_owned(self, image: Path) -> bool:
        files = self.owners.get(folded(image.stem), [])
        said = [self.annotations[file].image_name for file in files if file in self.annotations]
        return bool(files) and all(
            folded(name) == folded(image.name) or folded(name) not in self.by_name for name in said
        )


def _nearest(annotation: Path, images: Iterable[Path], stated: Iterable[str]) -> list[Path]:
    """Of the images in no other split those in the nearest folder, of these those whose path ends most as stated."""
    ranks = {image: _rank(annotation.parent, image.parent) for image in images}
    best = _least([image for image, rank in ranks.items() if rank], lambda image: ranks[image])
    for text in stated:
        parts = PureWindowsPath(text).parts[::-1]
        best = _least(best, lambda image, parts=parts: (-_num_shared(image.parts[::-1], parts),))
    return best


def _least(paths: Sequence[Path], measure: Callable[..., tuple[int, ...]]) -> list[Path]:
    if len(paths) < 2:
        return list(paths)
    measured = [measure(path) for path in paths]
    least = min(measured)
    return [path for path, value in zip(paths, measured, strict=True) if value == least]


@lru_cache(1 << 20)
def _rank(folder: Path, image_folder: Path) -> tuple[int, ...]:
    """Distance of the images of a folder from the annotation files of another, empty for another split.

    `JPEGImages` is nearer than any other folder: `SegmentationClass` beside it has images of the same names.
    """
    split, image_split = split_of_path(folder / "x"), split_of_path(image_folder / "x")
    if split is not None and image_split not in (split, None):
        return ()
    is_elsewhere = not any(part.lower() == "jpegimages" for part in image_folder.parts)
    return (split != image_split, is_elsewhere, _distance(folder, image_folder))


def _distance(first: Path, second: Path) -> int:
    """Folders by which two differ, counted from both ends: `Annotations/a` and `JPEGImages/a` differ by two."""
    before = _num_shared(first.parts, second.parts)
    a, b = first.parts[before:], second.parts[before:]
    return len(a) + len(b) - 2 * _num_shared(a[::-1], b[::-1])


def _num_shared(first: Sequence[str], second: Sequence[str]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _same_stem(index: Mapping[str, list[Path]], stem: str) -> list[Path]:
    """Paths with this stem, otherwise with one that differs only in capitals."""
    paths = index.get(folded(stem), [])
    return [path for path in paths if path.stem == stem] or paths


class _Located(NamedTuple):
    said: VocImage
    image: Path | Fault

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with the file. XML of another kind without an image is no part of the dataset."""
        has_image = isinstance(self.image, Path)
        return tuple(fault for fault in self.said.faults if has_image or fault[0] != kinds.OTHER_XML)


class _VocReader:
    """Reads all splits at once, because class names and pixel counting are common to the dataset."""

    def __init__(self, files: FolderFiles, splits: dict[str, FoundSplit], is_listed: bool) -> None:
        self.files, self.root, self.splits, self.is_listed = files, files.root, splits, is_listed

    def source_split(self, name: str) -> SourceSplit:
        split = self.splits[name]
        images = likely_images(split.paths, self.files.images)
        image_dir = common_folder((self.root / image for image in images), otherwise=self.root)
        return SourceSplit(name, split.file, image_dir, cache(partial(self._read, name, image_dir)))

    def _no_image(self, path: Path) -> Fault:
        """What is wrong without an image: a file that is listed in a split was meant to be used."""
        where = path.as_posix()
        others = shortened(self._other_images.get(folded(path.stem), []), 3)
        if self.is_listed:
            return kinds.MISSING_IMAGE, f"{where}; {others} is of a kind that is not read" if others else where
        return (kinds.UNREAD_SUFFIX, f"{where}: {others}") if others else (kinds.LABEL_WITHOUT_IMAGE, where)

    @cached_property
    def _other_images(self) -> dict[str, list[str]]:
        """Files by stem whose suffix is that of an image of another kind, or missing."""
        others: dict[str, list[str]] = {}
        for path in self.files.paths:
            if not path.suffix or is_other_image(path.suffix.lower()):
                others.setdefault(folded(path.stem), []).append(path.as_posix())
        return others

    @cached_property
    def _located(self) -> dict[str, list[_Located]]:
        paths = dict.fromkeys(itertools.chain(*(split.paths for split in self.splits.values())))
        said = {path: read_voc_file(self.root / path, path.as_posix()) for path in paths}
        others = (path for path in self.files.ending(".xml") if path not in said)
        images = pair_images(said, self.files.images, others)
        return {
            name: [
                _Located(said[path], images[path] if path in images else self._no_image(path)) for path in split.paths
            ]
            for name, split in self.splits.items()
        }

    @cached_property
    def _class_numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(sorted({thing.name for _, thing in self._objects()}))}

    @cached_property
    def _from_zero(self) -> list[str]:
        """Boxes that show that the first pixel is called 0."""
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
        names = {number: name for name, number in self._class_numbers.items()}
        images = [
            SourceImage(self.root / entry.image, entry.said.where, entry.said.size, partial(self._boxes, entry.said))
            for entry in entries
            if isinstance(entry.image, Path) and entry.said.is_readable
        ]
        dataset, unreadable = make_dataset(images, names, image_dir)
        faults = itertools.chain(
            self.splits[name].faults,
            *(entry.faults for entry in entries),
            dict.fromkeys(entry.image for entry in entries if not isinstance(entry.image, Path)),
            self._all_lost(entries),
            ((kinds.UNANNOTATED_IMAGE, path.as_posix()) for path in self._unannotated(name)),
            unreadable,
            self._faults_of_all(names.values()) if name == next(iter(self.splits)) else (),
        )
        files = {self.root / entry.said.where: entry.said.where for entry in entries}
        if self.is_listed:
            listed = self.splits[name].file
            files[listed] = name_below(listed, self.root)
        return SplitContent(dataset, findings_of(faults), files)

    def _faults_of_all(self, names: Iterable[str]) -> Iterator[Fault]:
        yield from ((kinds.COUNTS_FROM_ZERO, text) for text in self._from_zero)
        yield from self._widths()
        yield from name_faults(names, self.root.name)

    def _all_lost(self, entries: list[_Located]) -> Iterator[Fault]:
        """Examples of both sides, where there are annotation files and none finds its image."""
        images = shortened([path.as_posix() for path in self.files.images], 3)
        if not images and self._other_images:
            images = f"of a kind that is not read, as {next(iter(self._other_images.values()))[0]}"
        lost = (kinds.LABEL_WITHOUT_IMAGE, kinds.UNREAD_SUFFIX)
        if entries and all(not isinstance(entry.image, Path) and entry.image[0] in lost for entry in entries):
            yield kinds.NO_IMAGE_FOUND, f"{entries[0].said.where} and the others; the images are {images or 'nowhere'}"

    def _widths(self) -> Iterator[Fault]:
        """Swapped corners, where the far one may be a width and a height as far as all boxes tell."""
        swapped = [f"{where}, object {thing.number}" for where, thing in self._objects() if thing.is_swapped]
        said = [entry.said for entry in itertools.chain(*self._located.values())]
        if swapped and all(_fits_as_width(thing, each.size) for each in said for thing in each.objects):
            yield from ((kinds.WIDTH_FOR_CORNER, text) for text in swapped)

    def _boxes(self, said: VocImage, _: ImageSize) -> Iterator[SourceObject]:
        for thing in said.objects:
            box = box_xywh(thing.corners, origin=0 if self._from_zero else 1)
            source = f"{said.where}, object {thing.number}"
            yield SourceObject(self._class_numbers[thing.name], box, source, thing.is_difficult)

    def _unannotated(self, name: str) -> list[Path]:
        """Images of a split without an annotation file. Lists of splits leave images out on purpose."""
        if self.is_listed:
            return []
        used = {entry.image for entry in itertools.chain(*self._located.values())}
        wanted = None if name == "all" else name
        return [path for path in self.files.images if path not in used and split_of_path(path) == wanted]


def _fits_as_width(thing: VocObject, size: ImageSize | None) -> bool:
    """Whether a box is on its image when xmax and ymax are read as its width and height."""
    xmin, ymin, xmax, ymax = thing.corners
    return size is None or (xmin + xmax <= size[1] + 1 and ymin + ymax <= size[0] + 1)


def box_xywh(corners: tuple[float, float, float, float], origin: int) -> tuple[float, float, float, float]:
    """Box (x, y, width, height) counted from 0.

    Args:
        corners: (xmin, ymin, xmax, ymax) as written.
        origin: number of the first pixel. When it is 1, the last pixel belongs to the box, which is then one wider and
            higher than the difference of its corners. A side of no length stays one: tools write it for a click
            without a drag.
    """
    xmin, ymin, xmax, ymax = corners
    width, height = (length + origin * (length > 0) for length in (xmax - xmin, ymax - ymin))
    return xmin - origin, ymin - origin, width, height
