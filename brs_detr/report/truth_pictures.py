"""Images with what is there and what was detected, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from brs_detr.data.boxes import xyxy_from_xywh
from brs_detr.report.crop import load_upright
from brs_detr.runtime.draw import draw_detections


@dataclass(frozen=True)
class TruthPicture:
    """One image, drawn twice."""

    file_name: str
    truth: Image.Image
    detected: Image.Image


def draw_truth(
    dataset: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    image: Mapping[str, Any],
    image_dir: Path,
    class_names: Sequence[str] | None = None,
) -> TruthPicture:
    """Draw the objects of an image on one copy of it, the detections on another.

    Args:
        dataset: COCO object.
        predictions: COCO results; all of this image are drawn.
        image: its entry in the data set.
        image_dir: what file names are relative to.
        class_names: in the order of their labels, which have the colours; by default that of the category ids.

    Raises:
        UnreadableImage: the image is gone or cannot be decoded.
    """
    categories = sorted(dataset["categories"], key=lambda category: category["id"])
    names = {category["id"]: category["name"] for category in categories}
    class_names = class_names or list(names.values())
    picture = load_upright(image_dir / image["file_name"])

    def drawn(entries: Sequence[Mapping[str, Any]]) -> Image.Image:
        of_image = [entry for entry in entries if entry["image_id"] == image["id"]]
        boxes_xyxy = xyxy_from_xywh([entry["bbox"] for entry in of_image])
        labels = [class_names.index(names[entry["category_id"]]) for entry in of_image]
        scores = [entry["score"] for entry in of_image if "score" in entry]
        return draw_detections(picture, boxes_xyxy, labels, scores or None, class_names=class_names)

    return TruthPicture(image["file_name"], drawn(dataset["annotations"]), drawn(predictions))
