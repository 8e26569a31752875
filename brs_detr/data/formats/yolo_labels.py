"""Read one label file of a YOLO data set."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brs_detr.data.bounds import MAX_CLASSES
from brs_detr.data.findings import FaultKind
from brs_detr.data.formats.source_faults import BROKEN_LABEL_FILE, BROKEN_OBJECT, NOT_UTF8_FILE, Fault
from brs_detr.data.formats.yolo_polygons import Shape, shape_of
from brs_detr.data.text import MAX_LABEL_BYTES, NotUtf8, content_of, decoded

PIXEL_ROW = FaultKind(
    "row in pixels instead of fractions",
    "YOLO has fractions of the image. Divide pixels by its width (x) and height (y), or percent by 100.",
)

LARGE_CLASS = FaultKind(
    "class number that is too large",
    f"Mend it: classes are numbered from 0 to {MAX_CLASSES - 1:,} at most. Names are made up for all that have none.",
)

_MAX_FRACTION = 2.0
"""Beyond this a number is no fraction of an image with a box that sticks out, but pixels."""

_COLUMNS = re.compile(r"[\s,;]+")
_MIN_COLUMNS = 4
"""Numbers in a row that make a text file look like labels, whether or not they can be used."""


@dataclass(frozen=True)
class YoloRow:
    """One object of a label file: class number, corners (x1, y1, x2, y2) as fractions of the image, line from 1.

    `shape` says what the row was taken for, and what else it may be.
    """

    number: int
    box_xyxy_norm: tuple[float, float, float, float]
    line: int
    shape: Shape = "box"


def read_label_file(
    file: Path, where: str, num_keypoint_columns: int | None = None
) -> tuple[list[YoloRow], list[Fault]]:
    """Read a label file.

    A row is a class number and 4 numbers (x, y of the middle, width, height), or the corners of a polygon: of three
    points or more, with the 4 of a rotated box among them. Of a polygon the bounding box is taken.

    Args:
        file: text file; an empty one has no object.
        where: what a message calls it.
        num_keypoint_columns: how many numbers of key points follow the 4 numbers, to be passed over; 0 where further
            numbers make a polygon; None where that is not known.

    Returns:
        The rows that can be read, and what is wrong with the others.
    """
    try:
        text = decoded(content_of(file, MAX_LABEL_BYTES), where)
    except OSError as error:
        return [], [(BROKEN_LABEL_FILE, f"{where}: {error.strerror}")]
    except NotUtf8 as error:
        return [], [(NOT_UTF8_FILE, error.message.rstrip("."))]
    rows: list[YoloRow] = []
    faults: list[Fault] = []
    for line, row in enumerate(text.split("\n"), start=1):
        if row.strip():
            read = _read_row(row, line, num_keypoint_columns)
            if isinstance(read, YoloRow):
                rows.append(read)
            else:
                faults.append((read[0], f"{where}, line {line}: {read[1]}"))
    return rows, faults


def looks_like_labels(file: Path) -> bool | None:
    """Whether reading a text file as labels tells more than that it holds words; None for an empty one."""
    try:
        text = decoded(content_of(file, MAX_LABEL_BYTES), file.name)
    except (OSError, NotUtf8):
        return True
    rows = list(filter(None, map(str.strip, text.split("\n"))))
    return any(sum(map(_is_number, _COLUMNS.split(row))) >= _MIN_COLUMNS for row in rows) if rows else None


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


def _read_row(row: str, line: int, num_keypoint_columns: int | None) -> YoloRow | tuple[FaultKind, str]:
    try:
        number, *numbers = map(float, row.split())
    except ValueError:
        return BROKEN_OBJECT, f"{_shortened(row)!r} are not numbers"
    if not all(map(math.isfinite, (number, *numbers))):
        return BROKEN_OBJECT, f"{_shortened(row)!r} holds a NaN or infinite number"
    if number < 0 or not number.is_integer():
        return BROKEN_OBJECT, f"{number:g} is not a class number"
    if number >= MAX_CLASSES:
        return LARGE_CLASS, f"class {_shortened(row.split()[0])}"
    if num_keypoint_columns and len(numbers) == 4 + num_keypoint_columns:
        numbers = numbers[:4]
    odd_count = _odd_count(len(numbers), num_keypoint_columns)
    if odd_count:
        return BROKEN_OBJECT, f"{len(numbers)} numbers behind the class, {odd_count}"
    shape = "polygon" if num_keypoint_columns == 0 and len(numbers) > 4 else shape_of(numbers)
    if shape != "tracked" and max(map(abs, numbers)) > _MAX_FRACTION:
        return PIXEL_ROW, _shortened(row)
    return YoloRow(int(number), _corners(numbers), line, shape)


def _odd_count(count: int, num_keypoint_columns: int | None) -> str:
    """What is wrong with the count of the numbers behind a class, empty when nothing is."""
    if count == 4:
        return ""
    if num_keypoint_columns:
        return f"but the kpt_shape of data.yaml asks for {4 + num_keypoint_columns}"
    if count == 5:
        return "but a box has 4; if one is a confidence, as predictions have it, take it out"
    if count < 6 or count % 2:
        extra = "; take out a confidence behind a polygon" if count > 6 else ""
        return f"neither 4 nor the corners of a polygon{extra}; a box with key points needs kpt_shape in data.yaml"
    return ""


def _corners(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    if len(numbers) == 4:
        x, y, width, height = numbers
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    xs, ys = numbers[::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _shortened(row: str, limit: int = 40) -> str:
    row = " ".join(row.split())
    return row if len(row) <= limit else f"{row[:limit]}..."
