"""A data set to compare an artefact and its model on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from brs_detr.analysis.coco_ap import coco_ap
from brs_detr.data.annotations import read_annotations
from brs_detr.data.checks.cleaning import clean_annotations
from brs_detr.data.formats.coco_folder import CocoSplit
from brs_detr.evaluation.evaluate import open_any_split, require_same_classes
from brs_detr.export.parity_images import Picture, read_pictures
from brs_detr.run.bars import track
from brs_detr.runtime.detector import Detector

NUM_PICTURES = 8


@dataclass(frozen=True)
class HeldOut:
    """A split of a data set.

    Args:
        dataset: its annotations, cleaned.
        split: where they and the images are.
        console: where progress is shown.
    """

    dataset: dict[str, Any]
    split: CocoSplit
    console: Console

    @classmethod
    def open(cls, data: Path, split: str | None, class_names: tuple[str, ...], console: Console) -> HeldOut:
        """Check a split and read it.

        Args:
            data: data set in COCO, Pascal VOC or YOLO format.
            split: `train`, `val` or `test`; by default `test`, or `val` where there is none.
            class_names: of the checkpoint.
            console: where progress and what is dropped are shown.

        Raises:
            UserError: the data cannot be used, or have other classes.
        """
        chosen = open_any_split(data, split, console)
        require_same_classes(chosen, class_names)
        dataset, _ = clean_annotations(read_annotations(chosen.annotation_file), chosen.annotation_file)
        return cls(dataset, chosen, console)

    def pictures(self) -> list[Picture]:
        """The first of its images."""
        return read_pictures([self._path(image) for image in self.dataset["images"][:NUM_PICTURES]])

    def measure_ap(self, detector: Detector) -> float:
        """AP of a detector on all of it."""
        category_of = {category["name"]: category["id"] for category in self.dataset["categories"]}
        detector.score_threshold = 0.0
        results = []
        for image in track(self.dataset["images"], "measuring AP", self.console):
            for entry in detector(self._path(image)).to_coco(image["id"]):
                results.append({**entry, "category_id": category_of[entry["category_name"]]})
        return coco_ap(self.dataset, results).metrics["AP"]

    def _path(self, image: dict[str, Any]) -> Path:
        return self.split.image_dir / image["file_name"]
