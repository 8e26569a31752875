"""What a recipe has to know of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from brs_detr.data.annotations import read_annotations
from brs_detr.data.formats.coco_folder import CocoSplit


@dataclass(frozen=True)
class TrainingFacts:
    """Number of training images, and of objects in the fullest image of those and of the validation images."""

    num_images: int
    max_objects: int


def measure_facts(train: CocoSplit, others: Iterable[CocoSplit] = ()) -> TrainingFacts:
    """Count images and objects; crowds are not counted.

    Args:
        train: the split that is trained on.
        others: splits that are evaluated on.
    """
    dataset = read_annotations(train.annotation_file)
    fullest = [_fullest(dataset), *(_fullest(read_annotations(split.annotation_file)) for split in others)]
    return TrainingFacts(len(dataset["images"]), max(fullest))


def _fullest(dataset: dict[str, Any]) -> int:
    counts = Counter(box["image_id"] for box in dataset["annotations"] if not box.get("iscrowd"))
    return max(counts.values(), default=0)
