"""Images to compare a file and its model on: synthetic ones, and those of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from brs_detr.analysis.coco_ap import coco_ap
from brs_detr.data.annotations import read_annotations
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.data.synthetic.scene import draw_scene
from brs_detr.evaluation.evaluate import open_any_split, require_same_classes
from brs_detr.run.console import track
from brs_detr.runtime.artefact_info import Preprocessing
from brs_detr.runtime.detector import Detector
from brs_detr.runtime.images import read_pixels

SIZES = ((480, 640), (800, 1333), (333, 517), (601, 299))
"""(h, w) of synthetic images: common sizes, and odd ones of both orientations."""

SMALL_SIZES = ((8, 8), (8, 64), (64, 8), (17, 33), (33, 40))
"""(h, w) of images on which a model has fewer candidates than it usually keeps, and feature maps of one cell."""

THIN_SIZES = ((8, 640), (640, 8))
"""(h, w) of images that stay narrow when they are resized with their aspect ratio."""

SMALL_SIDE = 40
"""Longest shorter side of a small image, in pixels."""

NUM_IMAGES = 8
"""Number of images of a data set to compare stage by stage; AP is measured on all."""


class NamedImage(NamedTuple):
    """RGB image uint8 [H, W, 3] and its name in messages."""

    name: str
    pixels: NDArray[np.uint8]

    @property
    def is_small(self) -> bool:
        """Whether one side has few pixels."""
        return min(self.pixels.shape[:2]) <= SMALL_SIDE


def synthetic_images(sizes: Sequence[tuple[int, int]] = SIZES, seed: int = 0) -> list[NamedImage]:
    """Scenes of coloured shapes, one of each size (h, w)."""
    rng = np.random.default_rng(seed)
    return [NamedImage(f"{h} x {w}", draw_scene(rng, (h, w))[0]) for h, w in sizes]


def small_images(settings: Preprocessing) -> list[NamedImage]:
    """Images that are small for the model; none if it resizes all images to one size."""
    if settings.fixed_size is not None:
        return []
    return synthetic_images(SMALL_SIZES if settings.short_side is None else THIN_SIZES)


@dataclass(frozen=True)
class DataSet:
    """One split of a data set: its cleaned annotations, its files, and where progress is shown."""

    annotations: dict[str, Any]
    split: CocoSplit
    console: Console

    @classmethod
    def open(cls, data: Path, split: str | None, class_names: tuple[str, ...], console: Console) -> DataSet:
        """Check and read a split.

        Args:
            data: data set in COCO, Pascal VOC or YOLO format.
            split: `train`, `val` or `test`; by default `test`, or `val` if there is none.
            class_names: of the checkpoint.
            console: shows progress and what is left out.

        Raises:
            UserError: the data cannot be used, or have other classes.
        """
        chosen = open_any_split(data, split, console)
        require_same_classes(chosen, class_names)
        annotations, _ = clean_annotations(read_annotations(chosen.annotation_file), chosen.annotation_file)
        return cls(annotations, chosen, console)

    def images(self) -> list[NamedImage]:
        """The first images."""
        paths = [self._path(image) for image in self.annotations["images"][:NUM_IMAGES]]
        return [NamedImage(path.name, read_pixels(path)) for path in paths]

    def measure_ap(self, detector: Detector) -> float:
        """AP of a detector on all images."""
        category_ids = {category["name"]: category["id"] for category in self.annotations["categories"]}
        detector.score_threshold = 0.0
        results = []
        for image in track(self.annotations["images"], "measuring AP", self.console):
            for entry in detector(self._path(image)).to_coco(image["id"]):
                results.append({**entry, "category_id": category_ids[entry["category_name"]]})
        return coco_ap(self.annotations, results).metrics["AP"]

    def _path(self, image: dict[str, Any]) -> Path:
        return self.split.image_dir / image["file_name"]
