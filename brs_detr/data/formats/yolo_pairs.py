"""Find the label file of each image of a YOLO dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from brs_detr.data import kinds
from brs_detr.data.findings import Fault
from brs_detr.data.formats.layout import DiskNames, FolderFiles, folded, is_image, name_below, split_name
from brs_detr.data.formats.yolo_labels import looks_like_labels
from brs_detr.data.formats.yolo_yaml import is_names_file
from brs_detr.data.text import MAX_LABEL_BYTES, content_of

IMAGE_FOLDERS = ("images", "jpegimages")
"""Names, in lower case, of folders beside which `labels` is expected."""

_TEXTS = (".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".md")
"""Suffixes of files that may be beside an image under its name."""


class LabelPairs(NamedTuple):
    """What `pair_labels` found.

    Args:
        labels: label file by image, without the images that have none.
        faults: what is wrong with label files, each with the image that it concerns, if any.
    """

    labels: dict[Path, Path]
    faults: list[tuple[Path | None, Fault]]


def pair_labels(splits: Iterable[Sequence[Path]], files: FolderFiles) -> LabelPairs:
    """Find the label file of each image, whatever the case and the Unicode normal form of its name.

    Args:
        splits: the images of each split.
        files: the folder of the dataset, which may hold other images and labels as well.
    """
    splits = list(splits)
    finder = _LabelFinder()
    found = {image: finder.labels_of(image) for image in itertools.chain(*splits)}
    labels = {image: own[0] for image, own in found.items() if own}
    unused = _unused_labels(finder, found, files)
    bare = {folded(name): image for image in found if image not in labels for name in (image.stem, image.name)}
    faults = itertools.chain(
        _shared(labels, files.root),
        _rivals(labels, found, files.root),
        _unused(unused, bare, files),
        _unlabelled([images for images in splits if labels.keys().isdisjoint(images)], unused, bare, files.root),
    )
    return LabelPairs(labels, list(faults))


def label_folders(folder: Path) -> Iterator[Path]:
    """Folders in which the label files of the images in a folder may be, the likeliest first."""
    flat: list[Path] = []
    for depth in reversed(range(len(folder.parts))):
        if folder.parts[depth].lower() in IMAGE_FOLDERS:
            flat = [Path(*folder.parts[:depth], "labels")]
            yield flat[0].joinpath(*folder.parts[depth + 1 :])
            break
    yield folder
    yield folder / "labels"
    yield folder.parent / "labels" / folder.name
    yield folder.parent / "labels"
    yield from flat


class _LabelFinder:
    def __init__(self) -> None:
        self._names = DiskNames()
        self._folders: dict[Path, list[Path]] = {}

    def labels_of(self, image: Path) -> list[Path]:
        """All label files that an image may have, the likeliest first: of `a.jpg` `a.jpg.txt`, then `a.txt`."""
        if image.parent not in self._folders:
            found = (path for folder in label_folders(image.parent) for path in self._names.find(folder))
            self._folders[image.parent] = list(dict.fromkeys(found))
        names = (f"{image.name}.txt", f"{image.stem}.txt")
        return [
            label
            for folder in self._folders[image.parent]
            for name in names
            for label in self._names.named(folder, name)
        ]

    def likeliest_folders(self, folder: Path) -> list[Path]:
        """The likeliest folder of the labels of the images in a folder, as it is spelled on the disk."""
        return self._names.find(next(label_folders(folder)))


def label_texts(files: FolderFiles) -> list[Path]:
    """Text files that may be label files: in a folder `labels`, or with the name of an image."""
    stems = {folded(name) for path in files.images for name in (path.stem, path.name)}
    return [
        path
        for path in files.ending(".txt")
        if not _is_other_text(path) and (folded(path.stem) in stems or _is_below_labels(path))
    ]


def unread_images(files: FolderFiles) -> list[Path]:
    """Files with the name of a text file, as its image would have, that are of no kind that is read."""
    texts = {folded(path.stem) for path in files.ending(".txt") if not _is_other_text(path)}
    others = [path for path in files.paths if not is_image(path) and path.suffix.lower() not in _TEXTS]
    return [path for path in others if folded(path.stem) in texts]


def _is_other_text(path: Path) -> bool:
    """Whether a text file is known to hold something else than labels: names, a list of images, words."""
    return is_names_file(path) or path.name.lower().startswith("readme") or split_name(path.stem) is not None


def _is_below_labels(path: Path) -> bool:
    return any(part.lower() == "labels" for part in path.parts[:-1])


def _unused_labels(finder: _LabelFinder, found: dict[Path, list[Path]], files: FolderFiles) -> list[Path]:
    """Label files that no image looks for: in a folder of labels, or with the name of an image and numbers in it."""
    image_folders = {image.parent for image in found}
    others = {path for folder in image_folders for path in folder.iterdir() if is_image(path)}
    others |= {files.root / path for path in files.images}
    looked_for = {label for labels in found.values() for label in labels}
    looked_for |= {label for image in others - found.keys() for label in finder.labels_of(image)}
    label_dirs = {path for folder in image_folders for path in finder.likeliest_folders(folder)}
    label_dirs |= {labels[0].parent for labels in found.values() if labels}
    beside = {path for folder in label_dirs for path in folder.iterdir() if path.suffix.lower() == ".txt"}
    known = looked_for | beside
    below = [path for path in label_texts(files) if files.root / path not in known]
    return sorted(
        itertools.chain(
            (path for path in beside - looked_for if not path.name.startswith(".") and not _is_other_text(path)),
            (files.root / path for path in below if _is_below_labels(path) or looks_like_labels(files.root / path)),
        )
    )


def _shared(labels: dict[Path, Path], root: Path) -> Iterator[tuple[Path, Fault]]:
    owners: dict[Path, list[Path]] = {}
    for image, label in labels.items():
        owners.setdefault(label, []).append(image)
    for label, images in owners.items():
        if len(images) > 1:
            yield images[0], (kinds.SHARED_LABEL, f"{name_below(label, root)}: {_listed(images, root)}")


def _rivals(labels: dict[Path, Path], found: dict[Path, list[Path]], root: Path) -> Iterator[tuple[Path, Fault]]:
    used = set(labels.values())
    for image, label in labels.items():
        others = [other for other in found[image] if other not in used and _content(other) != _content(label)]
        if others:
            yield image, (kinds.RIVAL_LABELS, f"{name_below(image, root)}: {_listed((label, *others), root)}")


def _listed(paths: Iterable[Path], root: Path) -> str:
    return " and ".join(name_below(path, root) for path in paths)


def _content(label: Path) -> bytes | None:
    try:
        return content_of(label, MAX_LABEL_BYTES)
    except OSError:  # reading it says why
        return None


def _unused(labels: list[Path], bare: dict[str, Path], files: FolderFiles) -> Iterator[tuple[Path | None, Fault]]:
    """Faults of label files that no image looks for. `bare` are the images without a label by their names."""
    root = files.root
    unread = {folded(path.stem): path for path in unread_images(files)} if labels else {}
    for label in labels:
        image = bare.get(folded(label.stem))
        if image is None and folded(label.stem) in unread:
            yield None, (kinds.UNREAD_SUFFIX, f"{name_below(label, root)}: {unread[folded(label.stem)].as_posix()}")
        elif image is None:
            yield None, (kinds.LABEL_WITHOUT_IMAGE, name_below(label, root))
        else:
            yield image, (kinds.MISPLACED_LABEL, _looked_for(label, image, root))


def _unlabelled(
    splits: list[Sequence[Path]], unused: list[Path], bare: dict[str, Path], root: Path
) -> Iterator[tuple[Path, Fault]]:
    meant = {bare[folded(label.stem)] for label in unused if folded(label.stem) in bare}
    for images in splits:
        if unused and images and meant.isdisjoint(images):
            yield images[0], (kinds.MISPLACED_LABEL, _looked_for(unused[0], images[0], root))


def _looked_for(label: Path, image: Path, root: Path) -> str:
    expected = next(label_folders(image.parent)) / f"{image.stem}.txt"
    looked_for = f"that of {name_below(image, root)} is looked for as {name_below(expected, root)}"
    return f"{name_below(label, root)}, but {looked_for}"
