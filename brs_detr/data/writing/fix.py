"""Write a copy of a data set without its mistakes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from brs_detr.data.annotations import write_annotations
from brs_detr.data.checks.check import find_faults, merged
from brs_detr.data.checks.check_source import UNREADABLE_SPLIT
from brs_detr.data.checks.data_report import DataReport
from brs_detr.data.checks.split_check import find_odd_splits
from brs_detr.data.checks.twins import decoded_pictures, same_pictures
from brs_detr.data.findings import (
    CROWD_BOXES,
    CROWDED_IMAGE,
    DUPLICATE_ID,
    FRACTION_BOXES,
    MALFORMED,
    MISNAMED_IMAGE,
    NEGATIVE_BOXES,
    OTHER_READING,
    OUTSIDE_BOX,
    SHIFTED_IDS,
    SHIFTED_IMAGE_IDS,
    TOO_MANY_CLASSES,
    UNTRAINED_BOXES,
    Finding,
)
from brs_detr.data.formats.outside import require_inside
from brs_detr.data.formats.source import open_source
from brs_detr.data.formats.source_names import ODD_NAME
from brs_detr.data.formats.voc import WIDTH_FOR_CORNER
from brs_detr.data.writing.fresh_folder import fresh_folder
from brs_detr.data.writing.mend import MendedSplit, mend_split
from brs_detr.data.writing.placing import name_inside, place_file, require_apart
from brs_detr.errors import UserError
from brs_detr.runtime.images import ORIENTATION, orientation_of

Changes = dict[str, dict[str, int]]

_BACK = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""By the orientation that exchanges width and height, what undoes it."""

_STUBBORN = (
    MALFORMED,
    TOO_MANY_CLASSES,
    CROWDED_IMAGE,
    FRACTION_BOXES,
    NEGATIVE_BOXES,
    CROWD_BOXES,
    UNTRAINED_BOXES,
    OTHER_READING,
    SHIFTED_IDS,
    SHIFTED_IMAGE_IDS,
    MISNAMED_IMAGE,
    WIDTH_FOR_CORNER,
    ODD_NAME,
)
_MANY, _SHARE = 4, 0.25  # boxes outside of their images from which on they are no slips


def fix_source(report: DataReport, folder: str | Path, link: bool = False, allow_outside: bool = False) -> Changes:
    """Write a mended copy of a data set in COCO format: `annotations/SPLIT.json` beside `SPLIT/` with the images.

    Boxes that cannot be used are left out, those over the edge clipped, repeated ones dropped. Images that cannot be
    used are left out with their boxes. A picture that is in two splits stays in the later one alone, so that what is
    measured does not change. All ids are numbered from 1; class names stay.

    Args:
        report: of the data set, from `brs_detr.data.checks.check_source.check_source`. The data set itself is not
            touched.
        folder: where to; appears as a whole or not at all.
        link: hard-link the images instead of copying them (copied where the disk cannot).
        allow_outside: copy or link files too that lie outside of the data set.

    Returns:
        By split, what was done and how often.

    Raises:
        UserError: something cannot be mended or lies outside of the data set, `folder` is not empty, or lies within it.
    """
    folder = Path(folder)
    require_apart(report.source, folder.resolve())
    _require_mendable(report)
    if not allow_outside:
        require_inside(report.source.folder, (placed.finding for placed in report.placed_findings))
    leaked = _leaked_ids(report)
    mended = {name: mend_split(part, leaked[name], report.class_names) for name, part in report.splits.items()}
    for name, split in mended.items():
        _require_boxes(report, name, split, bool(leaked[name]))
    with fresh_folder(folder, overwrite=None) as partial:
        for name, split in mended.items():
            _write(split, partial, name, link)
        _require_good(partial, folder)
    return {name: split.changes for name, split in mended.items()}


def _require_mendable(report: DataReport) -> None:
    stubborn = [placed.finding for placed in report.of_severity("error") if _is_stubborn(placed.finding)]
    if stubborn:
        raise _refusal(report.source.folder, stubborn)


def _is_stubborn(finding: Finding) -> bool:
    """Whether nobody but the user knows what was meant, or boxes are wrong in a way that all may have in common."""
    if finding.kind == DUPLICATE_ID:
        return any(example.text.startswith("categories") for example in finding.shown)
    if finding.kind == OUTSIDE_BOX:
        return finding.count >= _MANY and finding.count >= _SHARE * (finding.total or finding.count)
    return finding.kind in _STUBBORN or finding.kind.what == UNREADABLE_SPLIT


def _require_boxes(report: DataReport, name: str, split: MendedSplit, is_leaked: bool) -> None:
    """Refuse to mend a split until nothing is left of it."""
    if split.dataset["annotations"] or not split.changes:
        return
    changes = ", ".join(f"{count} {what}" for what, count in split.changes.items())
    cure = (
        "Put every picture into one split alone, or leave a split out: 20 % of the others are then held out."
        if is_leaked
        else "Mend by yourself what takes most away."
    )
    raise UserError(
        f"{report.source.folder} cannot be mended without you: no box would be left of {name}; {changes}.", cure
    )


def _refusal(folder: Path, findings: list[Finding]) -> UserError:
    lines = [f"\n  - {finding}\n      {finding.kind.cure}" for finding in findings]
    return UserError(f"{folder} cannot be mended without you:{''.join(lines)}")


def _leaked_ids(report: DataReport) -> dict[str, set[int]]:
    """Ids of the images that are in a later split too."""
    pictures = {
        name: decoded_pictures(name, part.dataset["images"], part.looks) for name, part in report.splits.items()
    }
    leaked: dict[str, set[int]] = {name: set() for name in pictures}
    for first, second in itertools.combinations(pictures, 2):
        leaked[first] |= {picture.entry["id"] for _, picture in same_pictures(pictures[second], pictures[first])}
    return leaked


def _write(split: MendedSplit, folder: Path, name: str, link: bool) -> None:
    images = split.dataset["images"]
    for image, file, inside in zip(images, split.files, _names_inside(images), strict=True):
        target = folder / name / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        if file in split.sideways:
            _save_unturned(file, target)
        else:
            place_file(file, target, link)
        image["file_name"] = inside
    (folder / name).mkdir(exist_ok=True)
    write_annotations(folder / "annotations" / f"{name}.json", split.dataset)


def _names_inside(images: list[dict[str, Any]]) -> Iterator[str]:
    """The name that each image gets: its own, without folders where those lead out of the image folder."""
    taken: set[str] = set()
    for image in images:
        path = PurePosixPath(name_inside(image["file_name"]))
        names = itertools.chain([path], (path.with_stem(f"{path.stem}_{number}") for number in itertools.count(2)))
        name = next(str(name) for name in names if str(name).lower() not in taken)
        taken.add(name.lower())
        yield name


def _save_unturned(file: Path, target: Path) -> None:
    """Save an image without the rotation in its EXIF data; a JPEG with its own tables: hardly a pixel changes."""
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
        raise _refusal(folder, list(fatal))
