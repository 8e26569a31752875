"""The boxes of a split in columns, for everything that counts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brs_detr.data.boxes import clip_boxes, judge_boxes, xyxy_from_xywh

Entry = dict[str, Any]


@dataclass(frozen=True)
class BoxTable:
    """The boxes that training and evaluation see: those with a known image and class that are not dropped.

    Args:
        annotations: entries of the N boxes, as found.
        images: entry of the image that each is on.
        labels: [N] places of their classes in the list of names.
        boxes_xyxy: [N, 4] corners in pixels, clipped to the image.
        sizes: [N, 2] sizes (h, w) of the images.
        is_crowd: [N] whether a box stands for a crowd.
    """

    annotations: tuple[Entry, ...]
    images: tuple[Entry, ...]
    labels: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    sizes: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def sides(self) -> NDArray[np.float64]:
        """[N, 2] width and height in pixels."""
        return self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]


def tabulate_boxes(dataset: dict[str, list[Entry]], class_names: Sequence[str]) -> BoxTable:
    """Gather the usable boxes of a COCO object.

    Args:
        dataset: without malformed entries.
        class_names: of the data set; the place of a name is its label.
    """
    images = {image["id"]: image for image in dataset["images"]}
    places = {name: place for place, name in enumerate(class_names)}
    labels = {category["id"]: places[category["name"]] for category in dataset["categories"]}
    known = [
        entry for entry in dataset["annotations"] if entry["image_id"] in images and entry["category_id"] in labels
    ]
    owners = [images[entry["image_id"]] for entry in known]
    boxes_xyxy = xyxy_from_xywh([entry["bbox"] for entry in known])
    sizes = np.array([(image["height"], image["width"]) for image in owners], dtype=np.float64).reshape(-1, 2)
    verdict = judge_boxes(boxes_xyxy, sizes)
    is_good = ~(verdict.not_finite | verdict.outside | verdict.empty)
    kept = np.flatnonzero(is_good).tolist()
    return BoxTable(
        tuple(known[index] for index in kept),
        tuple(owners[index] for index in kept),
        np.array([labels[known[index]["category_id"]] for index in kept], dtype=np.int64),
        clip_boxes(boxes_xyxy, sizes)[is_good],
        sizes[is_good],
        np.array([bool(known[index].get("iscrowd")) for index in kept], dtype=bool),
    )
