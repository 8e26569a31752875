"""Whether a folder holds the data set of a table, all of it and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.errors import UserError


@dataclass(frozen=True)
class SplitFacts:
    """What a split consists of; None where nobody has published it."""

    num_images: int | None
    num_boxes: int | None


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    Args:
        title: what people call it.
        annotation_file: below its folder, with ``{split}``.
        image_dir: likewise.
        num_classes: of it.
        splits: `train` and `val`.
        epoch: images of an epoch as its recipes count them.
        layout: how to get it and lay it out.
    """

    title: str
    annotation_file: str
    image_dir: str
    num_classes: int
    splits: Mapping[str, SplitFacts]
    epoch: int
    layout: str

    def split(self, folder: Path, name: str) -> CocoSplit:
        """Where a split is, below the folder of the data set."""
        return CocoSplit(
            name, folder / self.annotation_file.format(split=name), folder / self.image_dir.format(split=name)
        )


DATA_SETS = {
    "coco": DataSet(
        "COCO 2017",
        "annotations/instances_{split}2017.json",
        "{split}2017",
        80,
        {"train": SplitFacts(118_287, 860_001), "val": SplitFacts(5_000, 36_781)},
        118_287,
        "COCO 2017 comes in three files: train2017.zip and val2017.zip (images), annotations_trainval2017.zip; see "
        "cocodataset.org. Unpack them side by side: DIR/annotations, DIR/train2017, DIR/val2017.",
    ),
    "cityscapes": DataSet(
        "Cityscapes",
        "annotations/instancesonly_filtered_gtFine_{split}.json",
        "leftImg8bit/{split}",
        8,
        {"train": SplitFacts(None, None), "val": SplitFacts(None, None)},
        8 * 2_975,
        "Cityscapes needs leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (cityscapes-dataset.com) in DIR; "
        "mmdet's tools/dataset_converters/cityscapes.py writes DIR/annotations.",
    ),
    "lvis": DataSet(
        "LVIS v1",
        "annotations/lvis_v1_{split}.json",
        ".",
        1_203,
        {"train": SplitFacts(100_170, 1_270_141), "val": SplitFacts(19_809, 244_707)},
        100_170,
        "LVIS v1 has the images of COCO 2017 (DIR/train2017, DIR/val2017) and annotations of its own: "
        "lvis_v1_train.json and lvis_v1_val.json in DIR/annotations; see lvisdataset.org.",
    ),
}


def check_data_set(name: str, folder: Path, splits: Iterable[str] = ("train", "val")) -> dict[str, CocoSplit]:
    """Check that a folder holds the images and boxes of a data set.

    Counts are compared with those published; nobody publishes checksums of the annotation files.

    Args:
        name: a key of `DATA_SETS`.
        folder: laid out as `DataSet` says.
        splits: that are needed.

    Returns:
        The splits by name.

    Raises:
        UserError: something is missing, or there is too much or too little; the message lists all of it.
    """
    data_set = DATA_SETS[name]
    found = {split: data_set.split(folder, split) for split in splits}
    faults = [fault for split in found.values() for fault in _faults(data_set, split)]
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise UserError(f"{folder} is not {data_set.title}:\n{lines}", data_set.layout)
    return found


def _faults(data_set: DataSet, split: CocoSplit) -> list[str]:
    missing = [path for path in (split.annotation_file, split.image_dir) if not path.exists()]
    if missing:
        return [f"{path} is missing" for path in missing]
    expected, dataset = data_set.splits[split.name], read_annotations(split.annotation_file)
    counts = {
        "images": (len(dataset["images"]), expected.num_images),
        "boxes": (len(dataset["annotations"]), expected.num_boxes),
        "classes": (len(dataset["categories"]), data_set.num_classes),
    }
    wrong = [
        f"{split.annotation_file} has {found:,} {what}, and should have {wanted:,}"
        for what, (found, wanted) in counts.items()
        if wanted is not None and found != wanted
    ]
    absent = _absent(dataset["images"], split.image_dir)
    if absent:
        wrong.append(f"{split.image_dir} lacks {len(absent):,} images, the first is {absent[0]}")
    return wrong


def _absent(images: list[dict[str, Any]], folder: Path) -> list[str]:
    """Files that a folder lacks. Folders are listed once each: asking for 100,000 files takes a while."""
    by_folder = defaultdict(list)
    for image in images:
        by_folder[Path(image["file_name"]).parent].append(image["file_name"])
    absent = []
    for parent, names in by_folder.items():
        place = folder / parent
        present = {entry.name for entry in place.iterdir()} if place.is_dir() else set()
        absent += [name for name in names if Path(name).name not in present]
    return absent
