"""Read a split in COCO format as it is meant: images where they lie, categories that are classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from brs_detr.data.annotations import read_annotations
from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.data.formats.coco_folder_images import MOVED_IMAGE, with_found_names
from brs_detr.data.formats.source_faults import Fault, findings_of
from brs_detr.data.formats.source_names import name_faults
from brs_detr.data.formats.source_split import SourceSplit, SplitContent

UNUSED_GROUP = FaultKind(
    "category that only groups others",
    "Not taken as a class: it is the supercategory of others and has no annotation. Nothing needs to be done.",
    "note",
)

UNREAD_FILE = FaultKind(
    "annotation file that is named after no split",
    "Left out, since others are. Name it train.json, val.json or test.json, or move it away.",
    "warning",
)


def coco_source(splits: dict[str, CocoSplit], left_out: Sequence[Path] = ()) -> dict[str, SourceSplit]:
    """Make what `find_splits` found readable.

    Args:
        splits: by name.
        left_out: annotation files of no split, which a finding of each split names.
    """
    files = [split.annotation_file for split in splits.values()]
    return {
        name: SourceSplit(
            name, split.annotation_file, split.image_dir, partial(read_coco, split, files, left_out), is_coco=True
        )
        for name, split in splits.items()
    }


def read_coco(split: CocoSplit, files: Sequence[Path], left_out: Sequence[Path] = ()) -> SplitContent:
    """Read a split.

    Args:
        split: its annotation file and the folder of its images.
        files: annotation files of all splits of the data set. They are read where a category may be none.
        left_out: annotation files of no split.

    Returns:
        The object in the file. Where an image lies in another place than stated, its name is changed; a category
        without any annotation that is the supercategory of another one is left out. Findings say so.

    Raises:
        UserError: the file is missing or is not a COCO object.
    """
    dataset, moved = with_found_names(read_annotations(split.annotation_file), split.image_dir)
    dataset, groups = _without_groups(dataset, split.annotation_file, files)
    names = [name for category in _objects(dataset["categories"]) if isinstance(name := category.get("name"), str)]
    unread = [(UNREAD_FILE, str(file)) for file in left_out]
    faults = [*moved, *groups, *unread, *name_faults(names, split.annotation_file.name)]
    return SplitContent(dataset, findings_of(faults), {split.annotation_file: split.annotation_file.name})


def is_as_filed(content: SplitContent) -> bool:
    """Whether what `read_coco` gave is what stands in the file, so that the file itself can be used."""
    return not any(finding.kind in (MOVED_IMAGE, UNUSED_GROUP) for finding in content.findings)


def _without_groups(dataset: dict[str, Any], file: Path, files: Sequence[Path]) -> tuple[dict[str, Any], list[Fault]]:
    """Leave out categories that are the supercategory of another one and have no annotation in any split."""
    pairs = [(_text(entry, "name"), _text(entry, "supercategory")) for entry in _objects(dataset["categories"])]
    parents = {group for name, group in pairs if group not in (name, "", "none")}
    groups = parents & {name for name, _ in pairs} - _used_names(dataset)
    for other in files:
        if groups and other != file:
            groups -= _used_names(read_annotations(other))
    if not groups:
        return dataset, []
    kept = [
        entry for entry in dataset["categories"] if not isinstance(entry, dict) or _text(entry, "name") not in groups
    ]
    return {**dataset, "categories": kept}, [(UNUSED_GROUP, f"{file.name}: {name!r}") for name in sorted(groups)]


def _used_names(dataset: dict[str, Any]) -> set[str]:
    used = {_text(annotation, "category_id") for annotation in _objects(dataset["annotations"])}
    return {_text(entry, "name") for entry in _objects(dataset["categories"]) if _text(entry, "id") in used}


def _text(entry: dict[str, Any], key: str) -> str:
    """A field as text, since a malformed one may be anything; empty where there is none."""
    value = entry.get(key)
    return str(value) if isinstance(value, str | int) else ""


def _objects(entries: list[Any]) -> list[dict[str, Any]]:
    """The entries that are objects: what else there is, the check names."""
    return [entry for entry in entries if isinstance(entry, dict)]
