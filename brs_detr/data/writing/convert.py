"""Write a copy of a dataset in COCO format: as it is, or without its mistakes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from PIL import Image

from brs_detr.data import kinds
from brs_detr.data.annotations import class_names_of
from brs_detr.data.checks.check import DataReport, find_faults, find_odd_splits
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.data.checks.twins import same_images
from brs_detr.data.findings import Finding, Findings, listed, merged
from brs_detr.data.formats.coco_folder import require_same_names
from brs_detr.data.formats.layout import DataSource, SourceSplit
from brs_detr.data.formats.source import open_source, require_inside
from brs_detr.data.writing.folder import fresh_folder, name_inside, place_file, require_apart, write_split
from brs_detr.data.writing.mend import MendedSplit, mend_split
from brs_detr.errors import UserError
from brs_detr.runtime.images import ORIENTATION, orientation_of

Progress = Callable[[int, int], None]
Changes = dict[str, dict[str, int]]

_BACK = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""By the orientation that exchanges width and height, what undoes it."""

_STUBBORN = (
    kinds.MALFORMED,
    kinds.TOO_MANY_CLASSES,
    kinds.CROWDED_IMAGE,
    kinds.FRACTION_BOXES,
    kinds.NEGATIVE_BOXES,
    kinds.CROWD_BOXES,
    kinds.UNTRAINED_BOXES,
    kinds.OTHER_READING,
    kinds.SHIFTED_IDS,
    kinds.SHIFTED_IMAGE_IDS,
    kinds.MISNAMED_IMAGE,
    kinds.WIDTH_FOR_CORNER,
    kinds.ODD_NAME,
)
_MANY, _SHARE = 4, 0.25  # boxes outside of their images from which on they are no slips


class ConvertedSplit(NamedTuple):
    """Numbers of images and boxes that were written of one split."""

    num_images: int
    num_boxes: int


class Conversion(NamedTuple):
    """The result of a conversion.

    Args:
        format: of the source.
        class_names: in the order of their labels.
        splits: counts by split name.
        findings: what was dropped or is good to know; none of it fatal.
    """

    format: str
    class_names: list[str]
    splits: dict[str, ConvertedSplit]
    findings: tuple[Finding, ...]


def convert(
    source: str | Path,
    folder: str | Path,
    link: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    allow_outside: bool = False,
) -> Conversion:
    """Write a dataset as a folder in COCO format: `annotations/SPLIT.json` beside `SPLIT/` with the images.

    Boxes are clipped to their image, those of zero area are dropped. Categories, images and annotations keep their ids.

    Args:
        source: anything that `brs_detr.data.formats.source.open_source` understands.
        folder: target; appears as a whole or not at all.
        link: hard-link the images instead of copying them (copied where the disk cannot).
        overwrite: replace an existing dataset.
        progress: called as `progress(done, total)` while images are checked and then copied, so that each counts twice.
        allow_outside: also copy or link files that are outside of the source.

    Raises:
        UserError: the source is not understood, has fatal faults, all of which are in one message, or leads to files
            outside of it; or the folder is not empty.
    """
    opened = open_source(source)
    require_apart(opened, Path(folder))
    steps = itertools.count(1)
    total = 2 * sum(len(split.read().dataset["images"]) for split in opened.splits.values())

    def step(*_: int) -> None:
        if progress is not None:
            progress(next(steps), total)

    findings = _checked(opened, step)
    if not allow_outside:
        require_inside(opened.folder, findings)
    splits: dict[str, ConvertedSplit] = {}
    with fresh_folder(folder, overwrite) as partial:
        for name, split in opened.splits.items():
            dataset = split.read().dataset
            has_boxes = any(min(annotation["bbox"][2:]) > 0 for annotation in dataset["annotations"])
            dataset = clean_annotations(dataset, split.file)[0] if has_boxes else {**dataset, "annotations": []}
            files = [split.image_dir / image["file_name"] for image in dataset["images"]]

            def place(index: int, target: Path, files: list[Path] = files) -> None:
                if not target.exists():  # listed twice
                    place_file(files[index], target, link)
                step()

            write_split(partial, name, dataset, _own_names(dataset["images"], split), place)
            splits[name] = ConvertedSplit(len(dataset["images"]), len(dataset["annotations"]))
    first = next(iter(opened.splits.values()))
    return Conversion(opened.format, class_names_of(first.read().dataset, first.file), splits, findings)


def _checked(source: DataSource, step: Progress) -> tuple[Finding, ...]:
    """The findings of all splits, none of them fatal. A split without any object can be converted beside another."""
    splits = source.splits.values()
    found = merged(source.folder, *(find_faults(split, step).found for split in splits)).found
    is_empty = not any(split.read().dataset["annotations"] for split in splits)
    findings = Findings(source.folder, tuple(finding for finding in found if is_empty or finding.kind != kinds.NO_BOX))
    findings.refuse_fatal()
    require_same_names(
        {split.file: {entry["name"] for entry in split.read().dataset["categories"]} for split in splits}
    )
    return findings.found


def _own_names(images: Iterable[dict[str, Any]], split: SourceSplit) -> Iterator[str]:
    """The name of each image in the copy.

    Raises:
        UserError: two images would get one name.
    """
    owners: dict[str, PurePosixPath] = {}
    for stated in [image["file_name"] for image in images]:
        path, name = PurePosixPath(stated), name_inside(stated)
        first = owners.setdefault(name, path)
        if first != path:
            raise UserError(
                f"{split.file} has two images that would both be called {name}: {first} and {path}.",
                "Rename one of them.",
            )
        yield name


def fix_source(report: DataReport, folder: str | Path, link: bool = False, allow_outside: bool = False) -> Changes:
    """Write a corrected copy of a dataset in COCO format: `annotations/SPLIT.json` beside `SPLIT/` with the images.

    Boxes that cannot be used are left out, those over the edge clipped, repeated ones dropped. Images that cannot be
    used are left out with their boxes. An image that is in two splits stays only in the later one, so that what is
    measured does not change. All ids are numbered from 1; class names stay.

    Args:
        report: of the dataset, from `brs_detr.data.checks.check.check_source`. The dataset itself is not changed.
        folder: target; appears as a whole or not at all.
        link: hard-link the images instead of copying them (copied where the disk cannot).
        allow_outside: also copy or link files that are outside of the dataset.

    Returns:
        By split, what was done and how often.

    Raises:
        UserError: something cannot be corrected or is outside of the dataset, `folder` is not empty, or is within it.
    """
    folder = Path(folder)
    require_apart(report.source, folder)
    stubborn = [placed.finding for placed in report.of_severity("error") if _is_stubborn(placed.finding)]
    if stubborn:
        raise _refusal(report.source.folder, stubborn)
    if not allow_outside:
        require_inside(report.source.folder, (placed.finding for placed in report.placed_findings))
    leaked = _leaked_ids(report)
    mended = {name: mend_split(part, leaked[name], report.class_names) for name, part in report.splits.items()}
    for name, split in mended.items():
        _require_boxes(report, name, split, bool(leaked[name]))
    with fresh_folder(folder, overwrite=None) as partial:
        for name, split in mended.items():

            def place(index: int, target: Path, split: MendedSplit = split) -> None:
                file = split.files[index]
                if file in split.sideways:
                    _save_unturned(file, target)
                else:
                    place_file(file, target, link)

            write_split(partial, name, split.dataset, _free_names(split.dataset["images"]), place)
        _require_good(partial, folder)
    return {name: split.changes for name, split in mended.items()}


def _is_stubborn(finding: Finding) -> bool:
    """Whether only the user knows what was meant, or boxes are wrong in a way that all may have in common."""
    if finding.kind == kinds.DUPLICATE_ID:
        return any(example.text.startswith("categories") for example in finding.shown)
    if finding.kind == kinds.OUTSIDE_BOX:
        return finding.count >= _MANY and finding.count >= _SHARE * (finding.total or finding.count)
    return finding.kind in _STUBBORN or finding.kind.what == kinds.UNREADABLE_SPLIT


def _refusal(folder: Path, findings: Iterable[Finding]) -> UserError:
    return UserError(f"{folder} cannot be mended without you:{listed(findings)}")


def _require_boxes(report: DataReport, name: str, split: MendedSplit, is_leaked: bool) -> None:
    if split.dataset["annotations"] or not split.changes:
        return
    changes = ", ".join(f"{count} {what}" for what, count in split.changes.items())
    cure = (
        "Put every image of two splits into one of them, or leave a split out: 20 % of the others are then held out."
        if is_leaked
        else "Mend by yourself what takes most away."
    )
    raise UserError(
        f"{report.source.folder} cannot be mended without you: no box would be left of {name}; {changes}.", cure
    )


def _leaked_ids(report: DataReport) -> dict[str, set[int]]:
    decoded = {name: part.decoded for name, part in report.splits.items()}
    leaked: dict[str, set[int]] = {name: set() for name in decoded}
    for first, second in itertools.combinations(decoded, 2):
        leaked[first] |= {image.entry["id"] for _, image in same_images(decoded[second], decoded[first])}
    return leaked


def _free_names(images: Iterable[dict[str, Any]]) -> Iterator[str]:
    taken: set[str] = set()
    for stated in [image["file_name"] for image in images]:
        path = PurePosixPath(name_inside(stated))
        names = itertools.chain([path], (path.with_stem(f"{path.stem}_{number}") for number in itertools.count(2)))
        name = next(str(name) for name in names if str(name).lower() not in taken)
        taken.add(name.lower())
        yield name


def _save_unturned(file: Path, target: Path) -> None:
    """Save an image without its EXIF rotation; a JPEG with its own tables, so that hardly a pixel changes."""
    with file.open("rb") as stream, Image.open(stream) as image:
        orientation = orientation_of(image)
        image.load()
        exif = image.getexif()
        exif.pop(ORIENTATION, None)
        if image.format in ("JPEG", "MPO"):
            image.format = "JPEG"  # by which Pillow knows that it can keep the tables
            image.save(target, format="JPEG", quality="keep", subsampling="keep", exif=exif)
        elif image.format == "TIFF":  # which Pillow has turned
            image.transpose(_BACK[orientation]).save(target, format="TIFF", exif=exif)
        else:
            image.save(target, format=image.format, lossless=True, exif=exif)


def _require_good(partial: Path, folder: Path) -> None:
    """Refuse a copy that still could not be trained on, for example because nothing is left of a split."""
    source = open_source(partial)
    found = merged(folder, *(find_faults(split).found for split in source.splits.values()))
    fatal = found.fatal or merged(folder, find_odd_splits(source, is_sound=True)).fatal
    if fatal:
        raise _refusal(folder, fatal)
