"""Crops of objects with some of their surroundings and the box drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from brs_detr.runtime.draw import Rgb
from brs_detr.runtime.images import read_pixels

_CONTEXT = 1.7  # side of the window relative to the longer side of the box
_TIGHT = 1.1  # its minimum, for boxes nearly as large as the image
_GREY = (128, 128, 128)
_HALO = (0, 0, 0, 90)
_FAR = 1e6  # pixels; coordinates are clipped here


def load_upright(path: str | Path) -> Image.Image:
    """Load an image in RGB and rotate it by its EXIF orientation, as training does.

    Raises:
        UnreadableImage: the file is missing or cannot be decoded.
    """
    return Image.fromarray(read_pixels(path))


def crop_box(
    picture: Image.Image, box_xyxy: ArrayLike, colour: Rgb, side: int = 160, min_window: float = 48
) -> Image.Image:
    """Return a square crop of a box and its surroundings, with the box drawn.

    Args:
        picture: in RGB.
        box_xyxy: [4] corners in pixels; the box may be empty or outside of the image. Pixels outside are grey.
        colour: colour of the box.
        side: side of the result in pixels.
        min_window: smallest side of the crop, in pixels of the image.
    """
    x1, y1, x2, y2 = np.clip(np.asarray(box_xyxy, dtype=float), -_FAR, _FAR).tolist()
    length = max(x2 - x1, y2 - y1)
    window = max(min(_CONTEXT * length, max(picture.size)), _TIGHT * length, min_window)
    left, right = _window((x1 + x2) / 2, window, picture.width, (x1, x2))
    top, bottom = _window((y1 + y2) / 2, window, picture.height, (y1, y2))
    view = Image.new("RGB", (side, side), _GREY)
    scale = side / window
    inside = (max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height))
    if inside[2] > inside[0] and inside[3] > inside[1]:
        size = tuple(max(1, round((inside[i + 2] - inside[i]) * scale)) for i in (0, 1))
        part = picture.resize(size, Image.Resampling.LANCZOS, inside)
        view.paste(part, (round((inside[0] - left) * scale), round((inside[1] - top) * scale)))
    frame = [round((value - start) * scale) for value, start in zip((x1, y1, x2, y2), (left, top) * 2, strict=True)]
    _outline(view, frame, colour)
    return view


def _window(centre: float, length: float, limit: int, box: tuple[float, float]) -> tuple[float, float]:
    """Return start and end of a window around the centre, moved into the image if the box lies inside it."""
    start = centre - length / 2
    if length <= limit and box[0] >= 0 and box[1] <= limit:
        start = min(max(start, 0.0), limit - length)
    return start, start + length


def _outline(view: Image.Image, frame: list[int], colour: Rgb) -> None:
    x1, y1, x2, y2 = frame
    x1, x2 = min(x1, x2), max(x1, x2)
    y1, y2 = min(y1, y2), max(y1, y2)
    canvas = ImageDraw.Draw(view, "RGBA")
    if x2 - x1 < 4 or y2 - y1 < 4:  # too small to be seen as a box
        x1, y1, x2, y2 = x1 - 4, y1 - 4, x2 + 4, y2 + 4
    canvas.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_HALO, width=5)
    canvas.rectangle((x1, y1, x2, y2), outline=colour, width=3)
