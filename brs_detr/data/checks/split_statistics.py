"""Count and measure the images, boxes and classes of splits, and check the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.data import kinds
from brs_detr.data.boxes import resize_scales
from brs_detr.data.checks.box_check import BoxTable
from brs_detr.data.findings import Example, Finding

SMALL, LARGE = 32.0, 96.0
"""Sides in pixels of the image between which COCO calls a box medium."""

MIN_BOXES = 10
"""Boxes in the training images below which a class is called rare."""

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class SplitStatistics:
    """Statistics of a split; crowds are counted and left out of everything else.

    Args:
        num_images: in the split.
        num_empty_images: without any box.
        num_crowds: boxes that stand for a crowd.
        boxes_by_class: [C] number of boxes.
        images_by_class: [C] number of images with such a box.
        box_sides: [N] square root of the area of each box, in pixels of its image.
        resized_box_sides: [N] the same after resizing for training.
        aspect_ratios: [N] width by height.
        boxes_per_image: [I].
        image_sizes: number of images by size (h, w), the most frequent first.
        coverage: [32, 32] share of boxes that cover each cell of their image.
    """

    num_images: int
    num_empty_images: int
    num_crowds: int
    boxes_by_class: NDArray[np.int64]
    images_by_class: NDArray[np.int64]
    box_sides: NDArray[np.float64]
    resized_box_sides: NDArray[np.float64]
    aspect_ratios: NDArray[np.float64]
    boxes_per_image: NDArray[np.int64]
    image_sizes: dict[tuple[int, int], int]
    coverage: NDArray[np.float64]

    @property
    def num_boxes(self) -> int:
        """Number of boxes without crowds."""
        return len(self.box_sides)

    def record(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Plain values for a JSON file, distributions by their quantiles."""
        sides = self.box_sides
        by_size = {"small": sides < SMALL, "medium": (sides >= SMALL) & (sides < LARGE), "large": sides >= LARGE}
        columns = zip(class_names, self.boxes_by_class.tolist(), self.images_by_class.tolist(), strict=True)
        return {
            "images": self.num_images,
            "images_without_box": self.num_empty_images,
            "boxes": self.num_boxes,
            "crowds": self.num_crowds,
            "boxes_by_size": {name: int(mask.sum()) for name, mask in by_size.items()},
            "box_side": _quantiles(sides),
            "box_side_after_resizing": _quantiles(self.resized_box_sides),
            "aspect_ratio": _quantiles(self.aspect_ratios),
            "boxes_per_image": _quantiles(self.boxes_per_image),
            "image_sizes": [
                {"width": width, "height": height, "images": count}
                for (height, width), count in self.image_sizes.items()
            ],
            "classes": {name: {"boxes": boxes, "images": images} for name, boxes, images in columns},
        }


def measure_split(
    images: Sequence[dict[str, Any]], boxes: BoxTable, num_classes: int, resized_to: tuple[int, int]
) -> SplitStatistics:
    """Count and measure a split.

    Args:
        images: entries of its images.
        boxes: its boxes.
        num_classes: in the whole dataset.
        resized_to: (long side, short side) in pixels that images are resized to for training.
    """
    kept = ~boxes.is_crowd
    sides, labels, sizes = boxes.sides[kept], boxes.labels[kept], boxes.sizes[kept]
    box_sides = np.sqrt(sides.prod(axis=1))
    owners = [boxes.images[at]["id"] for at in np.flatnonzero(kept)]
    per_image = Counter(owners)
    counts = np.array([per_image[image["id"]] for image in images], dtype=np.int64)
    pairs = set(zip(owners, labels.tolist(), strict=True))
    return SplitStatistics(
        num_images=len(images),
        num_empty_images=int((counts == 0).sum()),
        num_crowds=int(boxes.is_crowd.sum()),
        boxes_by_class=np.bincount(labels, minlength=num_classes),
        images_by_class=np.bincount([label for _, label in pairs], minlength=num_classes),
        box_sides=box_sides,
        resized_box_sides=box_sides * resize_scales(sizes, resized_to),
        aspect_ratios=sides[:, 0] / sides[:, 1],
        boxes_per_image=counts,
        image_sizes=dict(Counter((image["height"], image["width"]) for image in images).most_common()),
        coverage=_coverage(boxes.boxes_xyxy[kept], sizes),
    )


def _coverage(boxes_xyxy: NDArray[np.float64], sizes: NDArray[np.float64], cells: int = 32) -> NDArray[np.float64]:
    """Share of boxes that cover each of `cells` x `cells` cells, [cells, cells], rows from the top."""
    middles = (np.arange(cells) + 0.5) / cells
    relative = boxes_xyxy / sizes[:, [1, 0, 1, 0]]
    across = (relative[:, :1] <= middles) & (middles < relative[:, 2:3])  # [N, cells]
    down = (relative[:, 1:2] <= middles) & (middles < relative[:, 3:])
    return down.T.astype(np.float64) @ across.astype(np.float64) / max(len(relative), 1)


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    if not len(values):
        return {}
    return {f"{share:.0%}": round(float(np.quantile(values, share)), 3) for share in _QUANTILES}


def odd_classes(names: Mapping[Path, Sequence[str]]) -> Iterator[Finding]:
    """Find classes that only the first split or only another one names.

    Args:
        names: class names by annotation file, one entry a split.
    """
    first, *others = names.items()
    odd = {file: sorted(set(first[1]) ^ set(listed)) for file, listed in others}
    texts = [
        f"Only one of {first[0]} and {file} knows the classes: {', '.join(classes)}."
        for file, classes in odd.items()
        if classes
    ]
    if texts:
        yield Finding(kinds.ODD_CLASS, sum(map(len, odd.values())), tuple(map(Example, texts)))


def find_odd_counts(counts: Mapping[str, NDArray[np.int64]], class_names: Sequence[str]) -> Iterator[Finding]:
    """Find classes with no box, few boxes, or boxes in some splits only.

    Args:
        counts: by split, the number of boxes of each class.
        class_names: of the dataset.
    """
    trained = counts.get("train", counts.get("all"))
    measured = {split: count for split, count in counts.items() if split in ("val", "test")}
    validated = measured.get("val", measured.get("test"))
    total = sum(counts.values(), np.zeros(len(class_names), dtype=np.int64))

    def classes(mask: NDArray[np.bool_], remark: Callable[[int], str]) -> list[str]:
        return [f"{class_names[at]!r}{remark(at)}" for at in np.flatnonzero(mask).tolist()]

    def by_split(at: int) -> str:
        return ", ".join(f"{_boxes(count[at])} in {split}" for split, count in measured.items() if count[at])

    # Without any box there is an error instead.
    faults = {kinds.UNUSED_CLASS: classes((total == 0) & total.any(), lambda at: "")}
    if trained is not None:
        is_rare = (trained > 0) & (trained < MIN_BOXES)
        is_untrained = (trained == 0) & (total > 0)
        faults[kinds.RARE_CLASS] = classes(is_rare, lambda at: f": {_boxes(trained[at])} to train with")
        faults[kinds.UNTRAINED_CLASS] = classes(is_untrained, lambda at: f": {by_split(at)}")
        if validated is not None:
            is_unmeasured = (trained > 0) & (validated == 0)
            faults[kinds.UNMEASURED_CLASS] = classes(is_unmeasured, lambda at: f": {_boxes(trained[at])} in train")
    return (Finding.of(kind, examples, len(class_names)) for kind, examples in faults.items() if examples)


def _boxes(count: int) -> str:
    return f"{count} box" if count == 1 else f"{count} boxes"
