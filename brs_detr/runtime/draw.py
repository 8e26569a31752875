"""Draw boxes with class and score on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from brs_detr.printable import short_name
from brs_detr.runtime.palette import Rgb, class_colour, font, ink_on

_MIN_SIDE = 480  # smaller pictures are enlarged, so that a label can be read on them
_FILL = 28  # opacity of a box's inside, of 255


class _Chip(NamedTuple):
    """A label to be placed beside its box (x1, y1, x2, y2): text and its size (width, height)."""

    text: str
    size: tuple[int, int]
    box: tuple[float, float, float, float]
    colour: Rgb


MAX_ENLARGED_SIDE = 2048  # pixels; a long thin picture stays as it is


def draw_detections(
    image: Image.Image | NDArray[np.uint8],
    boxes_xyxy: ArrayLike,
    labels: ArrayLike,
    scores: ArrayLike | None = None,
    *,
    class_names: Sequence[str],
    min_side: int = _MIN_SIDE,
) -> Image.Image:
    """Draw detections, or ground truth when there are no scores, on a copy of a picture.

    Args:
        image: picture, or array [h, w, 3] in RGB.
        boxes_xyxy: [N, 4] corners in pixels of `image`.
        labels: [N] places in `class_names`.
        scores: [N] in [0, 1]; a box with a higher score is drawn on top.
        class_names: one name per label.
        min_side: the picture is enlarged until its shorter side has this many pixels; 0 leaves its size alone.

    Returns:
        The picture in RGB. Line widths and letters grow with its size.
    """
    picture = (image if isinstance(image, Image.Image) else Image.fromarray(image)).convert("RGB")
    boxes = np.asarray(boxes_xyxy, dtype=float).reshape(-1, 4)
    picture, scale = _enlarged(picture, min_side)
    order = np.arange(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    letters = max(12, round(min(picture.size) / 36))
    chips = []
    for index in order.tolist():
        label = int(np.asarray(labels)[index])
        name = short_name(class_names[label])
        text = name if scores is None else f"{name} {np.asarray(scores)[index]:.2f}"
        x1, y1, x2, y2 = (boxes[index] * scale).tolist()
        chips.append(_Chip(text, _text_size(text, letters), (x1, y1, x2, y2), class_colour(label)))
    _draw_boxes(picture, chips)
    _draw_chips(picture, chips, letters)
    return picture


def _enlarged(picture: Image.Image, min_side: int) -> tuple[Image.Image, float]:
    scale = max(1.0, min(min_side / min(picture.size), MAX_ENLARGED_SIDE / max(picture.size)))
    if scale == 1.0:
        return picture.copy(), scale
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC), scale


def _draw_boxes(picture: Image.Image, chips: list[_Chip]) -> None:
    width = max(2, round(min(picture.size) / 240))
    canvas = ImageDraw.Draw(picture, "RGBA")
    for chip in chips:
        x1, y1, x2, y2 = (round(value) for value in chip.box)
        x2, y2 = max(x1, x2), max(y1, y2)
        canvas.rectangle((x1, y1, x2, y2), fill=(*chip.colour, _FILL))
        canvas.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0, 110), width=width + 2)
        canvas.rectangle((x1, y1, x2, y2), outline=chip.colour, width=width)


def _draw_chips(picture: Image.Image, chips: list[_Chip], letters: int) -> None:
    """Draw the labels, the last box first, each where it covers least of the labels that are there."""
    canvas = ImageDraw.Draw(picture)
    taken = np.zeros((0, 4))
    for chip in reversed(chips):
        x, y = _best_corner(chip, picture.size, taken)
        frame = (x, y, x + chip.size[0], y + chip.size[1])
        taken = np.vstack([taken, frame])
        canvas.rounded_rectangle(frame, radius=letters // 4, fill=chip.colour)
        middle = (x + chip.size[0] / 2, y + chip.size[1] / 2)
        canvas.text(middle, chip.text, fill=ink_on(chip.colour), font=font(letters, bold=True), anchor="mm")


def _text_size(text: str, letters: int) -> tuple[int, int]:
    return round(font(letters, bold=True).getlength(text)) + letters // 2, round(letters * 1.35)


def _best_corner(chip: _Chip, size: tuple[int, int], taken: NDArray[np.float64]) -> tuple[float, float]:
    """Upper left corner for a label: above its box if that is free, else below or inside, never off the picture."""
    (x1, y1, x2, y2), (width, height) = chip.box, chip.size
    candidates = [(x, y) for y in (y1 - height, y2, y1) for x in (x1, x2 - width)]
    limits = np.array(size) - chip.size
    corners = np.clip(candidates, 0, np.maximum(limits, 0))
    moved = np.abs(corners - candidates).sum(axis=1)
    covered = [_overlap_area(corner, chip.size, taken) for corner in corners]
    x, y = corners[int(np.argmin(np.array(covered) + moved))]
    return float(x), float(y)


def _overlap_area(corner: NDArray[np.float64], size: tuple[int, int], taken: NDArray[np.float64]) -> float:
    low = np.maximum(taken[:, :2], corner)
    high = np.minimum(taken[:, 2:], corner + size)
    return float(np.clip(high - low, 0, None).prod(axis=1).sum())
