"""Check image files against what a dataset states of them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from brs_detr.data import kinds
from brs_detr.data.checks.twins import Fingerprint, read_fingerprint
from brs_detr.data.findings import Example, Finding, kind_of
from brs_detr.data.formats.layout import folded, indexed, is_there, list_files
from brs_detr.data.images import NUM_THREADS, ImageHeader, read_header
from brs_detr.data.kinds import FaultKind
from brs_detr.errors import shortened
from brs_detr.runtime.images import UnreadableImage

Progress = Callable[[int, int], None]
Entry = dict[str, Any]

NO_FILE = (kinds.MISSING_IMAGE, kinds.MISNAMED_IMAGE)
"""Faults of an image that does not exist; its path may be one that no disk allows."""

IMAGE_FAULTS = (
    *NO_FILE,
    kinds.UNREADABLE_IMAGE,
    kinds.LARGE_IMAGE,
    kinds.DAMAGED_IMAGE,
    kinds.WRONG_SIZE,
    kinds.SWAPPED_SIZE,
    kinds.SIDEWAYS_SIZE,
)
"""Faults that make an image unusable."""

_DARK = 64  # of 255


class ImageLook(NamedTuple):
    """What is known of an image file.

    Args:
        path: of the file.
        fault: kind and description of what is wrong with it; None for a good one.
        header: its size and rotation; None where it cannot be read.
        fingerprint: of its pixels, where it was decoded.
    """

    path: Path
    fault: tuple[FaultKind, Example] | None = None
    header: ImageHeader | None = None
    fingerprint: Fingerprint | None = None


def look_at_images(
    images: Sequence[Entry], image_dir: Path, is_thorough: bool = False, progress: Progress | None = None
) -> list[ImageLook]:
    """Look at the image files of a split, in threads.

    Args:
        images: entries with `id`, `file_name`, `width` and `height`.
        image_dir: what `file_name` is relative to.
        is_thorough: decode every image, rather than read its header and last bytes.
        progress: called as `progress(done, total)`.
    """
    looks = []
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for look in pool.map(lambda image: _look(image, image_dir, is_thorough), images):
            looks.append(look)
            if progress is not None:
                progress(len(looks), len(images))
    return _with_candidates(images, looks, image_dir)


def image_faults(looks: Sequence[ImageLook]) -> Iterator[Finding]:
    """Faults that make images unusable, by kind."""
    for kind in IMAGE_FAULTS:
        faults = [look.fault[1] for look in looks if look.fault is not None and look.fault[0] == kind]
        if faults:
            yield Finding.of(kind, faults)


def image_notes(dataset: dict[str, list[Entry]], looks: Sequence[ImageLook]) -> Iterator[Finding]:
    """Good images that are dark, plain, turned when they are loaded or have more pages, and those without boxes."""
    pairs = list(zip(dataset["images"], looks, strict=True))
    annotated = {annotation["image_id"] for annotation in dataset["annotations"]}
    are_plain = len(pairs) > 1 and all(look.fingerprint and look.fingerprint.is_plain for look in looks)
    found: dict[FaultKind, list[Example]] = {
        kind: []
        for kind in (
            kinds.DARK_IMAGE,
            kinds.PLAIN_IMAGES,
            kinds.TURNED_IMAGE,
            kinds.PAGED_IMAGE,
            kinds.EMPTY_IMAGE,
        )
    }
    for image, look in pairs:
        header, fingerprint, example = look.header, look.fingerprint, _example(image, look.path)
        if header and fingerprint and header.has_16_bits and fingerprint.brightest < _DARK:
            remark = f": the brightest pixel becomes {fingerprint.brightest} of 255"
            found[kinds.DARK_IMAGE].append(_example(image, look.path, remark))
        if are_plain:
            found[kinds.PLAIN_IMAGES].append(example)
        if header and look.fault is None and header.is_turned:
            found[kinds.TURNED_IMAGE].append(example)
        if header and look.fault is None and header.has_more:
            found[kinds.PAGED_IMAGE].append(example)
        if image["id"] not in annotated:
            found[kinds.EMPTY_IMAGE].append(example)
    yield from (Finding.of(kind, examples, len(pairs)) for kind, examples in found.items() if examples)


def unlisted_images(image_dir: Path, listed: set[Path]) -> list[Example]:
    """Image files below a folder that are not among the resolved paths `listed`."""
    found = ((name, image_dir / name) for name in list_files(image_dir).images)
    return [
        Example(str(path), file_name=name.as_posix(), files=(path,))
        for name, path in found
        if path.resolve() not in listed
    ]


def _look(image: Entry, image_dir: Path, is_thorough: bool) -> ImageLook:
    path = image_dir / image["file_name"]
    if not is_there(path):
        return ImageLook(path, (kinds.MISSING_IMAGE, _example(image, path)))
    try:
        header = read_header(path)
    except UnreadableImage as error:
        return ImageLook(path, (kind_of(error), _example(image, path, f": {error.reason}")))
    stated, (height, width) = (image["height"], image["width"]), header.size
    if header.size != stated:
        kind = kinds.SWAPPED_SIZE if header.size == stated[::-1] else kinds.WRONG_SIZE
        kind = kinds.SIDEWAYS_SIZE if header.stored_size == stated else kind
        remark = f": {width} x {height} instead of {image['width']} x {image['height']}"
        return ImageLook(path, (kind, _example(image, path, remark)), header)
    if not is_thorough:
        return ImageLook(path, None, header)
    try:
        return ImageLook(path, None, header, read_fingerprint(path))
    except UnreadableImage as error:
        return ImageLook(path, (kinds.DAMAGED_IMAGE, _example(image, path, f": {error.reason}")), header)


def _with_candidates(images: Sequence[Entry], looks: list[ImageLook], image_dir: Path) -> list[ImageLook]:
    """The looks; those at a missing file name the unlisted images with a similar name."""
    if not any(look.fault and look.fault[0] == kinds.MISSING_IMAGE for look in looks):
        return looks
    listed = {look.path for look in looks if look.header is not None}
    unlisted = (path for path in list_files(image_dir).images if image_dir / path not in listed)
    candidates = indexed(unlisted, lambda path: _core(path.as_posix()))
    for at, (image, look) in enumerate(zip(images, looks, strict=True)):
        near = candidates.get(folded(_core(image["file_name"])), [])
        if near and look.fault is not None and look.fault[0] == kinds.MISSING_IMAGE:
            remark = f", but there is: {shortened([path.as_posix() for path in near], 3)}"
            looks[at] = look._replace(fault=(kinds.MISNAMED_IMAGE, _example(image, look.path, remark)))
    return looks


def _core(name: str) -> str:
    return Path(unquote(name.replace("\\", "/")).strip()).stem


def _example(image: Entry, path: Path, remark: str = "") -> Example:
    source = f" ({image['source']})" if isinstance(image.get("source"), str) else ""
    name = posixpath.normpath(image["file_name"])
    return Example(f"image {image['id']}{source}, {path}{remark}", image["id"], name, files=(path,))
