"""Which image each annotation file of a Pascal VOC data set belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePath, PureWindowsPath

from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_faults import Fault
from brs_detr.data.formats.source_files import folded
from brs_detr.data.formats.source_split import split_of_path
from brs_detr.data.formats.voc_file import VocImage

AMBIGUOUS_IMAGE = FaultKind(
    "annotation file that may belong to several images",
    "Say in <filename> which one is meant, with its suffix, or give every image a name of its own.",
)
SHARED_IMAGE = FaultKind(
    "image that several annotation files belong to", "Put all of its objects into one file, and delete the others."
)
MISNAMED_IMAGE = FaultKind(
    "annotation file with the name of one image and the <filename> of another",
    "Look which image the boxes were drawn on. Give the file the name of that image, and mend <filename>.",
)


def pair_images(
    annotations: Mapping[Path, VocImage], images: Sequence[Path], others: Iterable[Path] = ()
) -> dict[Path, Path | Fault]:
    """Find the image of each annotation file.

    It is the image of the same name without suffix, or else the one that `<filename>` names. Of several with one name,
    `<filename>` chooses, then the folder that is nearest, then the folders that the file states.

    Args:
        annotations: files by their path relative to the data set.
        images: relative paths of all images.
        others: annotation files that are not read, since they are in no split.

    Returns:
        By annotation file the image, or why it is in doubt. Without an entry where there is none.
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
        fault = (SHARED_IMAGE, f"{image.as_posix()}: {where}")
        pairs |= dict.fromkeys(nearest, image if len(nearest) == 1 else fault)
    return pairs


def likely_images(annotations: Iterable[Path], images: Iterable[Path]) -> list[Path]:
    """The images that annotation files may belong to by their names alone, relative to the data set like the files."""
    by_stem = _indexed(images, lambda path: path.stem)
    return [image for path in annotations for image in _nearest(path, _same_stem(by_stem, path.stem), ())]


class _Pairing:
    def __init__(self, annotations: Mapping[Path, VocImage], images: Sequence[Path], others: Iterable[Path]) -> None:
        self.annotations = annotations
        self.by_stem = _indexed(images, lambda path: path.stem)
        self.by_name = _indexed(images, lambda path: path.name)
        self.owners = _indexed([*annotations, *others], lambda path: path.stem)

    def find(self, path: Path) -> Path | Fault | None:
        said = self.annotations[path]
        own = _same_stem(self.by_stem, path.stem)
        named = self.by_name.get(folded(said.image_name), [])
        if own and not set(own) & set(named) and not all(map(self._is_owned, named)):
            return MISNAMED_IMAGE, f"{said.where}: {_listed(own)}, or {_listed(named)} as <filename> says"
        if not own:
            named = named or _same_stem(self.by_stem, PurePath(said.image_name).stem)
            own = named = [image for image in named if not self._is_owned(image)]
        chosen = set(named)
        best = _nearest(path, [image for image in own if image in chosen] or own, said.image_paths)
        if len(best) > 1:
            return AMBIGUOUS_IMAGE, f"{said.where}: {_listed(best)}"
        return best[0] if best else None

    def _is_owned(self, image: Path) -> bool:
        """Whether an annotation file has the name of this image and does not speak of another one."""
        files = self.owners.get(folded(image.stem), [])
        said = [self.annotations[file].image_name for file in files if file in self.annotations]
        return bool(files) and all(
            folded(name) == folded(image.name) or folded(name) not in self.by_name for name in said
        )


def _nearest(annotation: Path, images: Iterable[Path], stated: Iterable[str]) -> list[Path]:
    """Of images in no other split those in the nearest folder, and of these those whose path ends most as stated."""
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
    """How far the images of a folder are from the annotation files of another, empty where they are in another split.

    `JPEGImages` is nearer than any other folder: `SegmentationClass` beside it has pictures of the same names.
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
    """How many parts two paths have alike from the beginning on."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))


def _indexed(paths: Iterable[Path], name: Callable[[Path], str]) -> dict[str, list[Path]]:
    index: dict[str, list[Path]] = {}
    for path in paths:
        index.setdefault(folded(name(path)), []).append(path)
    return index


def _same_stem(index: Mapping[str, list[Path]], stem: str) -> list[Path]:
    """Paths of this stem, of those that differ in capitals alone the ones that do not."""
    paths = index.get(folded(stem), [])
    return [path for path in paths if path.stem == stem] or paths


def _listed(images: Iterable[Path]) -> str:
    return " or ".join(image.as_posix() for image in images)
