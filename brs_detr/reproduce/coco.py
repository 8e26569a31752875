"""Whether a folder holds COCO 2017, all of it and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.errors import UserError

NUM_CLASSES = 80
_CURE = (
    "COCO 2017 comes in three files: train2017.zip and val2017.zip (images), annotations_trainval2017.zip; see "
    "cocodataset.org. Unpack them side by side: DIR/annotations, DIR/train2017, DIR/val2017."
)


@dataclass(frozen=True)
class CocoFacts:
    """What a split of COCO 2017 consists of."""

    num_images: int
    num_boxes: int


COCO_2017 = {"train": CocoFacts(118_287, 860_001), "val": CocoFacts(5_000, 36_781)}


def check_coco(folder: Path, names: Iterable[str] = ("train", "val")) -> dict[str, CocoSplit]:
    """Check that a folder holds the images and boxes of COCO 2017.

    Counts are compared with those published; nobody publishes checksums of the annotation files.

    Args:
        folder: with `annotations/instances_{train,val}2017.json`, `train2017/` and `val2017/`.
        names: of the splits that are needed.

    Returns:
        The splits by name.

    Raises:
        UserError: something is missing, or there is too much or too little; the message lists all of it.
    """
    splits = {
        name: CocoSplit(name, folder / "annotations" / f"instances_{name}2017.json", folder / f"{name}2017")
        for name in names
    }
    faults = [fault for split in splits.values() for fault in _faults(split)]
    if faults:
        raise UserError(f"{folder} is not COCO 2017:\n" + "\n".join(f"  {fault}" for fault in faults), _CURE)
    return splits


def _faults(split: CocoSplit) -> list[str]:
    missing = [path for path in (split.annotation_file, split.image_dir) if not path.exists()]
    if missing:
        return [f"{path} is missing" for path in missing]
    expected, dataset = COCO_2017[split.name], read_annotations(split.annotation_file)
    counts = {
        "images": (len(dataset["images"]), expected.num_images),
        "boxes": (len(dataset["annotations"]), expected.num_boxes),
        "classes": (len(dataset["categories"]), NUM_CLASSES),
    }
    wrong = [
        f"{split.annotation_file} has {found:,} {what}, and should have {wanted:,}"
        for what, (found, wanted) in counts.items()
        if found != wanted
    ]
    present = {entry.name for entry in split.image_dir.iterdir()}
    absent = [image["file_name"] for image in dataset["images"] if image["file_name"] not in present]
    if absent:
        wrong.append(f"{split.image_dir} lacks {len(absent):,} images, the first is {absent[0]}")
    return wrong
