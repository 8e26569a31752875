"""Images with ground truth and detections drawn, and contact sheets of many images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from brs_detr.data.boxes import xyxy_from_xywh
from brs_detr.printable import short_name
from brs_detr.report.crop import load_upright
from brs_detr.runtime.draw import draw_detections, font

_PAPER = (255, 255, 255)
_INK = (40, 44, 52)


@dataclass(frozen=True)
class TruthPicture:
    """One image with its ground truth, and again with its detections."""

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
        predictions: COCO results; all those of the image are drawn.
        image: entry of the image in the dataset.
        image_dir: folder that file names are relative to.
        class_names: in the order of the labels, which choose the colours. Default: the order of the category ids.

    Raises:
        UnreadableImage: the image file is missing or cannot be decoded.
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


def contact_sheet(
    images: Sequence[Image.Image], columns: int = 4, captions: Sequence[str] | None = None, cell_width: int = 480
) -> Image.Image:
    """Arrange images in rows of equal cells, each scaled to fit its cell.

    Args:
        images: at least one.
        columns: images per row, at least 1.
        captions: a line above each image.
        cell_width: pixels; the height of a cell follows from the median aspect ratio.

    Returns:
        The sheet, in RGB on white.

    Raises:
        ValueError: there is no image or no column, or the numbers of captions and images differ.
    """
    if not images or columns < 1 or (captions is not None and len(captions) != len(images)):
        raise ValueError(f"cannot lay out {len(images)} images in {columns} columns with captions {captions!r}")
    columns = min(columns, len(images))
    ratios = sorted(image.height / image.width for image in images)
    cell_height = round(cell_width * ratios[len(ratios) // 2])
    gap, letters = max(4, cell_width // 40), max(12, cell_width // 26)
    head = letters + gap if captions else 0
    rows = -(-len(images) // columns)
    across, down = cell_width + gap, cell_height + head + gap
    sheet = Image.new("RGB", (columns * across + gap, rows * down + gap), _PAPER)
    canvas = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        left, top = index % columns * across + gap, index // columns * down + gap
        if captions:
            caption = short_name(captions[index])
            canvas.text((left, top + head / 2), caption, fill=_INK, font=font(letters), anchor="lm")
        scale = min(cell_width / image.width, cell_height / image.height)
        fitted = image.convert("RGB").resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        middle = ((cell_width - fitted.width) // 2, (cell_height - fitted.height) // 2)
        sheet.paste(fitted, (left + middle[0], top + head + middle[1]))
    return sheet
