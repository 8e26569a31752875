"""Many pictures on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from brs_detr.printable import short_name
from brs_detr.runtime.palette import font

_PAPER = (255, 255, 255)
_INK = (40, 44, 52)


def contact_sheet(
    images: Sequence[Image.Image], columns: int = 4, captions: Sequence[str] | None = None, cell_width: int = 480
) -> Image.Image:
    """Set pictures in rows of equal cells, each as large as fits with its proportions kept.

    Args:
        images: at least one picture.
        columns: pictures in a row, at least 1.
        captions: a line above each picture.
        cell_width: pixels; cells are as high as the picture with the median proportion needs.

    Returns:
        The sheet, in RGB on white.

    Raises:
        ValueError: no picture, no column, or another number of captions than of pictures.
    """
    if not images or columns < 1 or (captions is not None and len(captions) != len(images)):
        raise ValueError(f"cannot lay out {len(images)} pictures in {columns} columns with captions {captions!r}")
    columns = min(columns, len(images))
    ratios = sorted(image.height / image.width for image in images)
    cell_height = round(cell_width * ratios[len(ratios) // 2])
    gap, letters = max(4, cell_width // 40), max(12, cell_width // 26)
    head = letters + gap if captions else 0
    rows = -(-len(images) // columns)
    across, down = cell_width + gap, cell_height + head + gap
    sheet = Image.new("RGB", (columns * across + gap, rows * down + gap), _PAPER)
    canvas = ImageDraw.Draw(sheet)
    for place, image in enumerate(images):
        left, top = place % columns * across + gap, place // columns * down + gap
        if captions:
            caption = short_name(captions[place])
            canvas.text((left, top + head / 2), caption, fill=_INK, font=font(letters), anchor="lm")
        scale = min(cell_width / image.width, cell_height / image.height)
        fitted = image.convert("RGB").resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        middle = ((cell_width - fitted.width) // 2, (cell_height - fitted.height) // 2)
        sheet.paste(fitted, (left + middle[0], top + head + middle[1]))
    return sheet
