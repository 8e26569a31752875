"""Check that a folder holds exactly the dataset of a table."""

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
    """Published numbers of images and boxes of a split, or None if they are not published."""

    num_images: int | None
    num_boxes: int | None


@dataclass(frozen=True)
class DataSet:
    """A public dataset.

    Args:
        title: name for messages.
        annotation_file: path in the dataset folder, with ``{split}`` for the name of the split.
        image_dir: folder of the images, likewise.
        num_classes: number of classes.
        splits: facts about `train` and `val`.
        epoch: number of images per epoch, including repetitions.
        layout: how to download it, and the layout of its folder.
    """

    title: str
    annotation_file: str
    image_dir: str
    num_classes: int
    splits: Mapping[str, SplitFacts]
    epoch: int
    layout: str

    def split(self, folder: Path, name: str) -> CocoSplit:
        """Return the paths of a split."""
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
    """Check that a folder holds the images and boxes of a dataset.

    Their numbers are compared with the published ones, since no checksums of the annotation files are published.

    Args:
        name: a key of `DATA_SETS`.
        folder: folder of the dataset.
        splits: names of the splits to check.

    Returns:
        The splits by name.

    Raises:
        UserError: files are missing, or numbers differ. The message lists everything.
    """
    data_set = DATA_SETS[name]
    checked = {split: data_set.split(folder, split) for split in splits}
    faults = [fault for split in checked.values() for fault in _faults(data_set, split)]
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise UserError(f"{folder} is not {data_set.title}:\n{lines}", data_set.layout)
    return checked


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
    faults = [
        f"{split.annotation_file} has {count:,} {what}, but should have {published:,}"
        for what, (count, published) in counts.items()
        if published is not None and count != published
    ]
    absent = _absent(dataset["images"], split.image_dir)
    if absent:
        faults.append(f"{split.image_dir} lacks {len(absent):,} images, of which the first is {absent[0]}")
    return faults


def _absent(images: list[dict[str, Any]], folder: Path) -> list[str]:
    """Return the images that a folder lacks. Each subfolder is listed once, which is faster than a check per file."""
    by_folder = defaultdict(list)
    for image in images:
        by_folder[Path(image["file_name"]).parent].append(image["file_name"])
    absent = []
    for parent, names in by_folder.items():
        subfolder = folder / parent
        present = {entry.name for entry in subfolder.iterdir()} if subfolder.is_dir() else set()
        absent += [name for name in names if Path(name).name not in present]
    return absent
