"""Draw boxes with class names and scores on an image."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from brs_detr.printable import short_name

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

Rgb = tuple[int, int, int]

# The palette of M. Okabe and K. Ito (2008) for colour-blind readers, without black and with the blues farther apart.
_COLOURS: tuple[Rgb, ...] = (
    (230, 159, 0),
    (0, 130, 210),
    (213, 94, 0),
    (0, 180, 125),
    (226, 116, 180),
    (240, 228, 66),
    (110, 200, 255),
)
_GOLDEN_TURN = 0.618034

_MIN_SIDE = 480  # smaller images are enlarged, so that labels are legible
MAX_ENLARGED_SIDE = 2048  # limit of that, for long thin images
_FILL = 28  # opacity of a box's interior, of 255


class _Chip(NamedTuple):
    """A label, its size (width, height), and its box (x1, y1, x2, y2)."""

    text: str
    size: tuple[int, int]
    box: tuple[float, float, float, float]
    colour: Rgb


def draw_detections(
    image: Image.Image | NDArray[np.uint8],
    boxes_xyxy: ArrayLike,
    labels: ArrayLike,
    scores: ArrayLike | None = None,
    *,
    class_names: Sequence[str],
    min_side: int = _MIN_SIDE,
) -> Image.Image:
    """Draw detections, or ground truth if `scores` is None, on a copy of an image.

    Args:
        image: PIL image or RGB array [H, W, 3].
        boxes_xyxy: [N, 4] corners in pixels of `image`.
        labels: [N] indices into `class_names`.
        scores: [N] in [0, 1]; boxes with higher scores are drawn on top.
        class_names: name of each class.
        min_side: the image is enlarged until its shorter side has this many pixels; 0 keeps its size.

    Returns:
        RGB image. Line width and font size grow with its size.
    """
    rgb = (image if isinstance(image, Image.Image) else Image.fromarray(image)).convert("RGB")
    boxes = np.asarray(boxes_xyxy, dtype=float).reshape(-1, 4)
    drawn, scale = _enlarged(rgb, min_side)
    order = np.arange(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    font_size = max(12, round(min(drawn.size) / 36))
    chips = []
    for index in order.tolist():
        label = int(np.asarray(labels)[index])
        name = short_name(class_names[label])
        text = name if scores is None else f"{name} {np.asarray(scores)[index]:.2f}"
        x1, y1, x2, y2 = (boxes[index] * scale).tolist()
        chips.append(_Chip(text, _text_size(text, font_size), (x1, y1, x2, y2), class_colour(label)))
    _draw_boxes(drawn, chips)
    _draw_chips(drawn, chips, font_size)
    return drawn


def _enlarged(image: Image.Image, min_side: int) -> tuple[Image.Image, float]:
    scale = max(1.0, min(min_side / min(image.size), MAX_ENLARGED_SIDE / max(image.size)))
    if scale == 1.0:
        return image.copy(), scale
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC), scale


def _draw_boxes(image: Image.Image, chips: list[_Chip]) -> None:
    width = max(2, round(min(image.size) / 240))
    canvas = ImageDraw.Draw(image, "RGBA")
    for chip in chips:
        x1, y1, x2, y2 = (round(value) for value in chip.box)
        x2, y2 = max(x1, x2), max(y1, y2)
        canvas.rectangle((x1, y1, x2, y2), fill=(*chip.colour, _FILL))
        canvas.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0, 110), width=width + 2)
        canvas.rectangle((x1, y1, x2, y2), outline=chip.colour, width=width)


def _draw_chips(image: Image.Image, chips: list[_Chip], font_size: int) -> None:
    """Draw the labels, those of the last boxes first, each where it covers the least of the labels already drawn."""
    canvas = ImageDraw.Draw(image)
    taken = np.zeros((0, 4))
    for chip in reversed(chips):
        x, y = _best_corner(chip, image.size, taken)
        frame = (x, y, x + chip.size[0], y + chip.size[1])
        taken = np.vstack([taken, frame])
        canvas.rounded_rectangle(frame, radius=font_size // 4, fill=chip.colour)
        middle = (x + chip.size[0] / 2, y + chip.size[1] / 2)
        canvas.text(middle, chip.text, fill=ink_on(chip.colour), font=font(font_size, bold=True), anchor="mm")


def _text_size(text: str, font_size: int) -> tuple[int, int]:
    return round(font(font_size, bold=True).getlength(text)) + font_size // 2, round(font_size * 1.35)


def _best_corner(chip: _Chip, size: tuple[int, int], taken: NDArray[np.float64]) -> tuple[float, float]:
    """Return the top left corner of a label: above its box if that is free, else below or inside, within the image."""
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


def class_colour(label: int) -> Rgb:
    """Return the colour (r, g, b) in 0..255 of a label; it is the same in every image and plot."""
    if label < len(_COLOURS):
        return _COLOURS[label]
    hue = label * _GOLDEN_TURN % 1
    red, green, blue = colorsys.hls_to_rgb(hue, (0.45, 0.6, 0.72)[label % 3], 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def ink_on(colour: Rgb) -> Rgb:
    """Return black or white, whichever is easier to read on a colour."""
    red, green, blue = ((channel / 255) ** 2.2 for channel in colour)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if luminance > 0.18 else (255, 255, 255)


@cache
def font(size: int, bold: bool = False) -> FreeTypeFont | ImageFont:
    """Return a font of a height in pixels: DejaVu Sans if matplotlib is installed, else Pillow's own (Latin only)."""
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    try:
        import matplotlib
    except ImportError:
        return ImageFont.load_default(size)
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
