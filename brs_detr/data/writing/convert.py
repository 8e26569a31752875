"""Write a data set of any format that is understood as a folder in COCO format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from brs_detr.data.annotations import write_annotations
from brs_detr.data.checks.check import find_faults, merged
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.data.findings import NO_BOX, Finding, Findings
from brs_detr.data.formats.outside import require_inside
from brs_detr.data.formats.source import DataSource, SourceSplit, open_source
from brs_detr.data.formats.source_dataset import plain
from brs_detr.data.formats.splits import require_same_names
from brs_detr.data.writing.fresh_folder import fresh_folder
from brs_detr.data.writing.placing import name_inside, place_file, require_apart
from brs_detr.errors import UserError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ConvertedSplit:
    """What was written of one split."""

    num_images: int
    num_boxes: int


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote and what it met.

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
    """Write a data set as a folder in COCO format: `annotations/SPLIT.json` beside `SPLIT/` with the images.

    Boxes are clipped to their image, those of zero area are dropped. Categories, images and annotations keep the ids
    that the reader gives them; those of a COCO file are the ones that stand in it.

    Args:
        source: what `brs_detr.data.formats.source.open_source` understands.
        folder: where to; appears as a whole or not at all.
        link: hard-link the images instead of copying them (copied where the disk cannot).
        overwrite: replace a data set that is there already.
        progress: called as `progress(done, total)` while images are checked and then copied, so that each counts twice.
        allow_outside: copy or link files too that lie outside of the source.

    Returns:
        Counts, class names and findings.

    Raises:
        UserError: the source is not understood, has fatal faults, all of which are in one message, or leads to files
            outside of it; or the folder is not empty.
    """
    opened = open_source(source)
    require_apart(opened, Path(folder).resolve())
    steps = _Steps(progress, 2 * sum(len(split.read().dataset["images"]) for split in opened.splits.values()))
    findings = _checked(opened, steps)
    if not allow_outside:
        require_inside(opened.folder, findings)
    splits: dict[str, ConvertedSplit] = {}
    with fresh_folder(folder, overwrite) as partial:
        for name, split in opened.splits.items():
            dataset = _cleaned(split)
            _write(dataset, split, partial, link, steps)
            splits[name] = ConvertedSplit(len(dataset["images"]), len(dataset["annotations"]))
    return Conversion(opened.format, _class_names(next(iter(opened.splits.values()))), splits, findings)


class _Steps:
    """Counts images through checking and copying."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, *_: int) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _checked(source: DataSource, steps: _Steps) -> tuple[Finding, ...]:
    """The findings of all splits, none of them fatal. A split without any object can be converted beside another."""
    splits = source.splits.values()
    found = merged(source.folder, *(find_faults(split, steps).found for split in splits)).found
    is_empty = not any(split.read().dataset["annotations"] for split in splits)
    findings = Findings(source.folder, tuple(finding for finding in found if is_empty or finding.kind != NO_BOX))
    findings.refuse_fatal()
    require_same_names({split.file: set(_class_names(split)) for split in splits})
    return findings.found


def _class_names(split: SourceSplit) -> list[str]:
    categories = sorted(split.read().dataset["categories"], key=lambda category: category["id"])
    return [category["name"] for category in categories]


def _cleaned(split: SourceSplit) -> dict[str, Any]:
    dataset = split.read().dataset
    if not any(min(annotation["bbox"][2:]) > 0 for annotation in dataset["annotations"]):
        return {**dataset, "annotations": []}
    return clean_annotations(dataset, split.file)[0]


def _write(dataset: dict[str, Any], split: SourceSplit, folder: Path, link: bool, steps: _Steps) -> None:
    """Write one split. What is written is a data set by itself, so that it does not say where each entry came from."""
    names = _names_inside(dataset, split)
    for image in dataset["images"]:
        target = folder / split.name / names[image["file_name"]]
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():  # listed twice
            place_file(split.image_dir / image["file_name"], target, link)
        steps()
    images = [{**_without_source(image), "file_name": names[image["file_name"]]} for image in dataset["images"]]
    annotations = [_plainly(annotation) for annotation in dataset["annotations"]]
    (folder / split.name).mkdir(exist_ok=True)
    write_annotations(
        folder / "annotations" / f"{split.name}.json", {**dataset, "images": images, "annotations": annotations}
    )


def _names_inside(dataset: dict[str, Any], split: SourceSplit) -> dict[str, str]:
    """For each image name the one that it gets: its own, without folders where those lead out of the image folder."""
    names: dict[str, str] = {}
    owners: dict[str, PurePosixPath] = {}
    for stated in dict.fromkeys(image["file_name"] for image in dataset["images"]):
        path, name = PurePosixPath(stated), name_inside(stated)
        first = owners.setdefault(name, path)
        if first != path:
            raise UserError(
                f"{split.file} has two images that would both be called {name}: {first} and {path}.",
                "Rename one of them.",
            )
        names[stated] = name
    return names


def _without_source(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "source"}


def _plainly(annotation: dict[str, Any]) -> dict[str, Any]:
    box_xywh = [plain(number) for number in annotation["bbox"]]
    return {**_without_source(annotation), "bbox": box_xywh, "area": plain(annotation["area"])}
