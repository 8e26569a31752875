"""Read one label file of a YOLO data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_faults import BROKEN_LABEL_FILE, BROKEN_OBJECT, Fault

PIXEL_ROW = FaultKind(
    "row in pixels instead of fractions", "Divide x by the width and y by the height of the image, as YOLO does."
)

_MAX_FRACTION = 2.0
"""Beyond this a number is no fraction of an image with a box that sticks out, but pixels."""


@dataclass(frozen=True)
class YoloRow:
    """One object of a label file: class number, corners (x1, y1, x2, y2) as fractions of the image, line from 1."""

    number: int
    box_xyxy_norm: tuple[float, float, float, float]
    line: int


def read_label_file(file: Path, where: str, has_keypoints: bool = False) -> tuple[list[YoloRow], list[Fault]]:
    """Read a label file.

    A row is a class number and 4 numbers (x, y of the middle, width, height), or the corners of a polygon: of three
    points or more, with the 4 of a rotated box among them. Of a polygon the bounding box is taken.

    Args:
        file: text file; an empty one has no object.
        where: what a message calls it.
        has_keypoints: whether key points follow the 4 numbers; they are passed over.

    Returns:
        The rows that can be read, and what is wrong with the others.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        return [], [(BROKEN_LABEL_FILE, f"{where}: {error.strerror}")]
    except UnicodeDecodeError:
        return [], [(BROKEN_LABEL_FILE, f"{where} is not text in UTF-8")]
    rows: list[YoloRow] = []
    faults: list[Fault] = []
    for line, row in enumerate(text.splitlines(), start=1):
        if row.strip():
            read = _read_row(row, line, has_keypoints)
            if isinstance(read, YoloRow):
                rows.append(read)
            else:
                faults.append((read[0], f"{where}, line {line}: {read[1]}"))
    return rows, faults


def box_xywh(box_xyxy_norm: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Box (x, y, width, height) in pixels, its corners rounded to 1/100 pixel.

    Labels are written with 6 digits, so that a corner is off by up to 0.003 pixels in an image of 4096 pixels. Rounding
    gives back the pixel at which the box was drawn.

    Args:
        box_xyxy_norm: corners as fractions of the image.
        size: of the image, (h, w).
    """
    height, width = size
    corners = [round(fraction * length, 2) for fraction, length in zip(box_xyxy_norm, (width, height) * 2, strict=True)]
    x1, y1, x2, y2 = corners
    return x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)


def _read_row(row: str, line: int, has_keypoints: bool) -> YoloRow | tuple[FaultKind, str]:
    try:
        number, *numbers = map(float, row.split())
    except ValueError:
        return BROKEN_OBJECT, f"{_shortened(row)!r} are not numbers"
    numbers = numbers[:4] if has_keypoints else numbers
    if not all(map(math.isfinite, (number, *numbers))):
        return BROKEN_OBJECT, f"{_shortened(row)!r} holds a NaN or infinite number"
    if number < 0 or not number.is_integer():
        return BROKEN_OBJECT, f"{number:g} is not a class number"
    if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
        return BROKEN_OBJECT, f"{len(numbers)} numbers behind the class, neither 4 nor the corners of a polygon"
    if max(map(abs, numbers)) > _MAX_FRACTION:
        return PIXEL_ROW, _shortened(row)
    return YoloRow(int(number), _corners(numbers), line)


def _corners(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    if len(numbers) == 4:
        x, y, width, height = numbers
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    xs, ys = numbers[::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _shortened(row: str, limit: int = 40) -> str:
    row = " ".join(row.split())
    return row if len(row) <= limit else f"{row[:limit]}..."
