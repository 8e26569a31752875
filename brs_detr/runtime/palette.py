"""One colour per class, told apart by colour-blind readers as well, and fonts that need no installation."""

from __future__ import annotations

import colorsys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

Rgb = tuple[int, int, int]

# The qualitative palette of M. Okabe and K. Ito (2008) without its black; the blues are set apart.
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


def class_colour(label: int) -> Rgb:
    """Colour of a class, (r, g, b) in 0..255; the same label has the same colour everywhere.

    Args:
        label: place of the class in the list of names, not negative.
    """
    if label < len(_COLOURS):
        return _COLOURS[label]
    hue = label * _GOLDEN_TURN % 1
    red, green, blue = colorsys.hls_to_rgb(hue, (0.45, 0.6, 0.72)[label % 3], 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def ink_on(colour: Rgb) -> Rgb:
    """Black or white, whichever is easier to read on a colour."""
    red, green, blue = ((channel / 255) ** 2.2 for channel in colour)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if luminance > 0.18 else (255, 255, 255)


@cache
def font(size: int, bold: bool = False) -> FreeTypeFont | ImageFont:
    """DejaVu Sans as matplotlib ships it: Latin, Greek and Cyrillic. Without matplotlib, Pillow's own font: Latin.

    Args:
        size: height in pixels.
        bold: the bold cut.
    """
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    try:
        import matplotlib
    except ImportError:
        return ImageFont.load_default(size)
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
