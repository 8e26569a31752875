"""Numbers that describe a split: how many images and boxes, how large, how many of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.data.boxes import resize_scales
from brs_detr.data.checks.box_table import BoxTable

SMALL, LARGE = 32.0, 96.0
"""Sides in pixels of the image between which COCO calls a box medium."""

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class SplitStatistics:
    """What a split consists of; crowds are counted and left out of everything else.

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
        coverage: [32, 32] share of boxes that cover each place of their image.
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
        """Boxes that are no crowds."""
        return len(self.box_sides)

    def record(self, class_names: Sequence[str]) -> dict[str, Any]:
        """The numbers as plain values for a JSON file, distributions by their quantiles."""
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
        num_classes: in the whole data set.
        resized_to: (long side, short side) in pixels that images are resized to for training.
    """
    kept = ~boxes.is_crowd
    sides, labels = boxes.sides[kept], boxes.labels[kept]
    box_sides = np.sqrt(sides.prod(axis=1))
    owners = [boxes.images[place]["id"] for place in np.flatnonzero(kept)]
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
        resized_box_sides=box_sides * resize_scales(boxes.sizes[kept], resized_to),
        aspect_ratios=sides[:, 0] / sides[:, 1],
        boxes_per_image=counts,
        image_sizes=dict(Counter((image["height"], image["width"]) for image in images).most_common()),
        coverage=_coverage(boxes.boxes_xyxy[kept], boxes.sizes[kept]),
    )


def _coverage(boxes_xyxy: NDArray[np.float64], sizes: NDArray[np.float64], cells: int = 32) -> NDArray[np.float64]:
    """Share of boxes that cover each of `cells` x `cells` places, [cells, cells], rows from the top."""
    places = (np.arange(cells) + 0.5) / cells
    relative = boxes_xyxy / sizes[:, [1, 0, 1, 0]]
    across = (relative[:, :1] <= places) & (places < relative[:, 2:3])  # [N, cells]
    down = (relative[:, 1:2] <= places) & (places < relative[:, 3:])
    return down.T.astype(np.float64) @ across.astype(np.float64) / max(len(relative), 1)


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    if not len(values):
        return {}
    return {f"{share:.0%}": round(float(np.quantile(values, share)), 3) for share in _QUANTILES}
