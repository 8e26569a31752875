"""Check image files against what a data set says of them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from brs_detr.data.checks.fingerprint import Fingerprint, read_fingerprint
from brs_detr.data.findings import (
    LARGE_IMAGE,
    MISNAMED_IMAGE,
    MISSING_IMAGE,
    SIDEWAYS_SIZE,
    SWAPPED_SIZE,
    UNREADABLE_IMAGE,
    WRONG_SIZE,
    Example,
    FaultKind,
    Finding,
    kind_of,
)
from brs_detr.data.formats.source_files import folded, is_there, list_files
from brs_detr.data.images import ImageHeader, read_header
from brs_detr.errors import shortened
from brs_detr.runtime.images import UnreadableImage

Progress = Callable[[int, int], None]
Entry = dict[str, Any]

DAMAGED_IMAGE = FaultKind(
    "image with damaged data", "Replace the file, or take the image out of the list: training stops at it."
)
TURNED_IMAGE = FaultKind(
    "image with an EXIF rotation", "Loaded upright; look whether its boxes were drawn on the upright picture.", "note"
)
PAGED_IMAGE = FaultKind(
    "image file with several pages or frames", "The first is used; save others that you need as files.", "note"
)
EMPTY_IMAGE = FaultKind(
    "image without any object", "Kept, and trained on as background. Look whether it was forgotten.", "note"
)
UNLISTED_IMAGE = FaultKind(
    "image in the folder that no annotation file lists",
    "Left out. List it, without a box if nothing is to be found on it.",
    "note",
)

DARK_IMAGE = FaultKind(
    "dark image of 16 bits",
    "Of 16 bits the upper 8 are used. If the values lie in the lower bits alone, stretch them to 0 ... 65535, or save "
    "8 bits.",
    "warning",
)
PLAIN_IMAGES = FaultKind(
    "images that are of one colour, as all of this split are",
    "There is nothing to be learnt from. Export the pictures again; of 16 bits a channel the upper 8 are used.",
    "warning",
)

NO_FILE = (MISSING_IMAGE, MISNAMED_IMAGE)
"""What is said of an image that is not there; its path may be one that no disk allows."""

IMAGE_FAULTS = (
    *NO_FILE,
    UNREADABLE_IMAGE,
    LARGE_IMAGE,
    DAMAGED_IMAGE,
    WRONG_SIZE,
    SWAPPED_SIZE,
    SIDEWAYS_SIZE,
)
"""What makes an image unusable."""

_NUM_THREADS = 8


class ImageLook(NamedTuple):
    """What a look at an image file showed.

    Args:
        path: of the file.
        fault: kind and description of what is wrong with it; None for a good one.
        header: what it says of itself; None where it cannot be read.
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
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for look in pool.map(lambda image: _look(image, image_dir, is_thorough), images):
            looks.append(look)
            if progress is not None:
                progress(len(looks), len(images))
    return _with_candidates(images, looks, image_dir)


def image_faults(looks: Sequence[ImageLook]) -> Iterator[Finding]:
    """What makes images unusable, by kind."""
    for kind in IMAGE_FAULTS:
        faults = [look.fault[1] for look in looks if look.fault is not None and look.fault[0] == kind]
        if faults:
            yield Finding.of(kind, faults)


def image_notes(dataset: dict[str, list[Entry]], looks: Sequence[ImageLook]) -> Iterator[Finding]:
    """Good images that are turned when they are loaded, have more pages or show nothing, and those without boxes."""
    pairs = list(zip(dataset["images"], looks, strict=True))
    annotated = {annotation["image_id"] for annotation in dataset["annotations"]}
    good = [(_example(image, look.path), look.header) for image, look in pairs if look.header and look.fault is None]
    turned = [example for example, header in good if header.is_turned]
    more = [example for example, header in good if header.has_more]
    empty = [_example(image, look.path) for image, look in pairs if image["id"] not in annotated]
    dark = [_example(image, look.path, _brightness(look)) for image, look in pairs if _is_dark(look)]
    is_plain = len(pairs) > 1 and all(look.fingerprint and look.fingerprint.is_plain for look in looks)
    plain = [_example(image, look.path) for image, look in pairs] if is_plain else []
    found = {DARK_IMAGE: dark, PLAIN_IMAGES: plain, TURNED_IMAGE: turned, PAGED_IMAGE: more, EMPTY_IMAGE: empty}
    for kind, examples in found.items():
        if examples:
            yield Finding.of(kind, examples, len(pairs))


def _is_dark(look: ImageLook) -> bool:
    """Whether an image of 16 bits uses a quarter of its range at most."""
    if look.header is None or look.fingerprint is None:
        return False
    return look.header.has_16_bits and look.fingerprint.brightest < 64


def _brightness(look: ImageLook) -> str:
    return f": the brightest pixel becomes {look.fingerprint.brightest} of 255" if look.fingerprint else ""


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
        return ImageLook(path, (MISSING_IMAGE, _example(image, path)))
    try:
        header = read_header(path)
    except UnreadableImage as error:
        return ImageLook(path, (kind_of(error), _example(image, path, f": {error.reason}")))
    stated, (height, width) = (image["height"], image["width"]), header.size
    if header.size != stated:
        kind = SWAPPED_SIZE if header.size == stated[::-1] else WRONG_SIZE
        kind = SIDEWAYS_SIZE if header.stored_size == stated else kind
        remark = f": {width} x {height} instead of {image['width']} x {image['height']}"
        return ImageLook(path, (kind, _example(image, path, remark)), header)
    if not is_thorough:
        return ImageLook(path, None, header)
    try:
        return ImageLook(path, None, header, read_fingerprint(path))
    except UnreadableImage as error:
        return ImageLook(path, (DAMAGED_IMAGE, _example(image, path, f": {error.reason}")), header)


def _with_candidates(images: Sequence[Entry], looks: list[ImageLook], image_dir: Path) -> list[ImageLook]:
    """The looks; those at a missing file name the images that nobody lists and whose names differ in little."""
    if not any(look.fault and look.fault[0] == MISSING_IMAGE for look in looks):
        return looks
    listed = {look.path for look in looks if look.header is not None}
    candidates: dict[str, list[Path]] = {}
    for path in list_files(image_dir).images:
        if image_dir / path not in listed:
            candidates.setdefault(_core(path.as_posix()), []).append(path)
    pairs = zip(images, looks, strict=True)
    return [_with_names(look, image, candidates.get(_core(image["file_name"]), [])) for image, look in pairs]


def _with_names(look: ImageLook, image: Entry, names: Sequence[Path]) -> ImageLook:
    if not names or look.fault is None or look.fault[0] != MISSING_IMAGE:
        return look
    near = shortened([name.as_posix() for name in names], 3)
    return look._replace(fault=(MISNAMED_IMAGE, _example(image, look.path, f", but there is: {near}")))


def _core(name: str) -> str:
    """What remains of the name of a file without its folders, suffix, case, and signs that were written as %20."""
    return folded(Path(unquote(name.replace("\\", "/")).strip()).stem)


def _example(image: Entry, path: Path, remark: str = "") -> Example:
    source = f" ({image['source']})" if isinstance(image.get("source"), str) else ""
    name = posixpath.normpath(image["file_name"])
    return Example(f"image {image['id']}{source}, {path}{remark}", image["id"], name, files=(path,))
