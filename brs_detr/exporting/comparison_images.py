"""Images on which an exported file and its model are compared: synthetic ones, and those of a dataset."""

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
"""(h, w) of synthetic images: common sizes, and odd ones in both orientations."""

SMALL_SIZES = ((8, 8), (8, 64), (64, 8), (17, 33), (33, 40))
"""(h, w) of images with fewer candidates than a model usually keeps, and with feature maps of a single cell."""

THIN_SIZES = ((8, 640), (640, 8))
"""(h, w) of images that stay narrow when resized with their aspect ratio."""

SMALL_SIDE = 40
"""Largest shorter side of a small image, in pixels."""

NUM_IMAGES = 8
"""Number of dataset images that are compared stage by stage. AP is measured on all images."""


class NamedImage(NamedTuple):
    """An RGB image uint8 [H, W, 3] with a name for messages."""

    name: str
    pixels: NDArray[np.uint8]

    @property
    def is_small(self) -> bool:
        """Whether the shorter side has at most `SMALL_SIDE` pixels."""
        return min(self.pixels.shape[:2]) <= SMALL_SIDE


def synthetic_images(sizes: Sequence[tuple[int, int]] = SIZES, seed: int = 0) -> list[NamedImage]:
    """Draw a scene of coloured shapes for each size (h, w)."""
    rng = np.random.default_rng(seed)
    return [NamedImage(f"{h} x {w}", draw_scene(rng, (h, w))[0]) for h, w in sizes]


def small_images(settings: Preprocessing) -> list[NamedImage]:
    """Return images that remain small after preprocessing; none if all images are resized to a fixed size."""
    if settings.fixed_size is not None:
        return []
    return synthetic_images(SMALL_SIZES if settings.short_side is None else THIN_SIZES)


@dataclass(frozen=True)
class DataSet:
    """A split of a dataset: its cleaned annotations, its files, and the console for progress."""

    annotations: dict[str, Any]
    split: CocoSplit
    console: Console

    @classmethod
    def open(cls, data: Path, split: str | None, class_names: tuple[str, ...], console: Console) -> DataSet:
        """Check and read a split.

        Args:
            data: dataset in COCO, Pascal VOC or YOLO format.
            split: `train`, `val` or `test`; default: `test`, or `val` if there is none.
            class_names: class names of the checkpoint.
            console: shows progress and what is left out.

        Raises:
            UserError: the dataset cannot be used, or has other classes.
        """
        opened = open_any_split(data, split, console)
        require_same_classes(opened, class_names)
        annotations, _ = clean_annotations(read_annotations(opened.annotation_file), opened.annotation_file)
        return cls(annotations, opened, console)

    def images(self) -> list[NamedImage]:
        """Read the first `NUM_IMAGES` images."""
        paths = [self._path(image) for image in self.annotations["images"][:NUM_IMAGES]]
        return [NamedImage(path.name, read_pixels(path)) for path in paths]

    def measure_ap(self, detector: Detector) -> float:
        """Measure the AP of a detector on all images."""
        category_ids = {category["name"]: category["id"] for category in self.annotations["categories"]}
        detector.score_threshold = 0.0
        results = []
        for image in track(self.annotations["images"], "measuring AP", self.console):
            for entry in detector(self._path(image)).to_coco(image["id"]):
                results.append({**entry, "category_id": category_ids[entry["category_name"]]})
        return coco_ap(self.annotations, results).metrics["AP"]

    def _path(self, image: dict[str, Any]) -> Path:
        return self.split.image_dir / image["file_name"]
