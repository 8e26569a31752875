"""Read label files of a YOLO dataset, and tell polygons from boxes with key points."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from brs_detr.data import kinds
from brs_detr.data.findings import Fault
from brs_detr.data.formats.layout import read_label
from brs_detr.data.kinds import MAX_CLASSES, FaultKind
from brs_detr.data.text import decoded

Shape = Literal["box", "polygon", "key points", "either", "tracked"]
"""What a row can be: four numbers are a box; more of them a polygon, a box with key points in it, or either.

`tracked` ends with a confidence and a track number, as predictions of a tracker do.
"""

_Point = tuple[float, float]

_MAX_FRACTION = 2.0  # larger numbers are pixels, not fractions of a box that sticks out of its image
_COLUMNS = re.compile(r"[\s,;]+")
_MIN_COLUMNS = 4  # numbers in a row that make a text file look like labels, whether or not they can be used
_MAX_FLAG = 2  # 0 is absent, 1 hidden, 2 visible; a fraction is a confidence
_UNSEEN = ((0.0, 0.0), (-1.0, -1.0))  # coordinates of a key point that is not there
_MAX_OVERHANG = 0.01  # of a box beyond the image, as a fraction of that
_MAX_POINT_OVERHANG = 0.1  # of a key point beyond its box, as a fraction of that
_MAX_POLYGON_OVERHANG = 0.5  # of a corner beyond the image, as a fraction of that


class YoloRow(NamedTuple):
    """One object of a label file: class number, corners (x1, y1, x2, y2) as fractions of the image, line from 1."""

    number: int
    box_xyxy_norm: tuple[float, float, float, float]
    line: int
    shape: Shape = "box"


def read_label_file(
    file: Path, where: str, num_keypoint_columns: int | None = None
) -> tuple[list[YoloRow], list[Fault]]:
    """Read a label file.

    A row is a class number and 4 numbers (x, y of the middle, width, height), or the corners of a polygon of three
    points or more, such as the 4 of a rotated box. For a polygon the bounding box is returned.

    Args:
        file: text file; an empty one has no object.
        where: its name in messages.
        num_keypoint_columns: how many numbers of key points follow a box, and are skipped; 0 where further numbers make
            a polygon; None where that is not known.

    Returns:
        The rows that can be read, and what is wrong with the others.
    """
    text = read_label(file, where, decoded)
    if not isinstance(text, str):
        return [], [text]
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
    """Whether a text file holds rows of numbers, or cannot be read as text; None for an empty one."""
    text = read_label(file, file.name, decoded)
    if not isinstance(text, str):
        return True
    rows = list(filter(None, map(str.strip, text.split("\n"))))
    return any(sum(map(_is_number, _COLUMNS.split(row))) >= _MIN_COLUMNS for row in rows) if rows else None


def box_xywh(box_xyxy_norm: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Box (x, y, width, height) in pixels, its corners rounded to 1/100 pixel.

    Labels have 6 digits, so a corner is off by up to 0.003 pixels in an image of 4096 pixels. Rounding gives back the
    pixel at which the box was drawn.

    Args:
        box_xyxy_norm: corners as fractions of the image.
        size: (h, w) of the image.
    """
    height, width = size
    corners = [round(fraction * length, 2) for fraction, length in zip(box_xyxy_norm, (width, height) * 2, strict=True)]
    x1, y1, x2, y2 = corners
    return x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)


def _read_row(row: str, line: int, num_keypoint_columns: int | None) -> YoloRow | Fault:
    try:
        number, *numbers = map(float, row.split())
    except ValueError:
        return kinds.BROKEN_OBJECT, f"{_shortened(row)!r} are not numbers"
    if not all(map(math.isfinite, (number, *numbers))):
        return kinds.BROKEN_OBJECT, f"{_shortened(row)!r} holds a NaN or infinite number"
    if number < 0 or not number.is_integer():
        return kinds.BROKEN_OBJECT, f"{number:g} is not a class number"
    if number >= MAX_CLASSES:
        return kinds.LARGE_CLASS, f"class {_shortened(row.split()[0])}"
    if num_keypoint_columns and len(numbers) == 4 + num_keypoint_columns:
        numbers = numbers[:4]
    odd_count = _odd_count(len(numbers), num_keypoint_columns)
    if odd_count:
        return kinds.BROKEN_OBJECT, f"{len(numbers)} numbers behind the class, {odd_count}"
    shape = "polygon" if num_keypoint_columns == 0 and len(numbers) > 4 else shape_of(numbers)
    if shape != "tracked" and max(map(abs, numbers)) > _MAX_FRACTION:
        return kinds.PIXEL_ROW, _shortened(row)
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


def shape_of(numbers: Sequence[float]) -> Shape:
    """What a row can be.

    A box is inside the image, and its key points are inside the box. The corners of a polygon are near the image, and
    the second one, in place of which a box has width and height, is near the others.

    Args:
        numbers: 4 of a box (x, y of the middle, width, height), or an even count of 6 or more; fractions of the image.
    """
    if len(numbers) == 4:
        return "box"
    if _is_tracked(numbers):
        return "tracked"
    if not all(map(_is_near_image, numbers)):
        return "key points"
    if not _has_key_points(numbers):
        return "polygon"
    return "either" if _is_second_near(_pairs(numbers)) else "key points"


def kind_of_rows(shapes: Iterable[Shape]) -> FaultKind:
    """What the rows of more than four numbers are in a dataset, where all are of one kind."""
    counts = Counter(shapes)
    tracked = counts.pop("tracked", 0)
    if tracked and tracked >= counts["polygon"] + counts["key points"] + counts["either"]:
        return kinds.TRACKED_ROW
    is_undecided = counts["either"] > 0 and counts["polygon"] == 0
    is_unclear = is_undecided or counts["key points"] > counts["polygon"]
    return kinds.UNCLEAR_ROW if is_unclear else kinds.POLYGON_ROW


def _is_tracked(numbers: Sequence[float]) -> bool:
    """Whether a row ends with a confidence and an integer that is no coordinate, or a box does: 1 may end a polygon."""
    *coordinates, confidence, track = numbers
    is_end = 0 <= confidence <= 1 and track >= 0 and float(track).is_integer()
    if not is_end or not all(map(_is_near_image, coordinates)) or _has_key_points(numbers):
        return False
    is_box = len(coordinates) == 4 and _fits(coordinates[0], coordinates[2]) and _fits(coordinates[1], coordinates[3])
    return is_box or not _is_near_image(track)


def _is_near_image(number: float) -> bool:
    return -_MAX_POLYGON_OVERHANG <= number <= 1 + _MAX_POLYGON_OVERHANG


def _is_second_near(corners: list[_Point]) -> bool:
    xs, ys = zip(*(corners[:1] + corners[2:]), strict=True)
    reach = max(max(xs) - min(xs), max(ys) - min(ys))
    (x, y) = corners[1]
    return min(xs) - reach <= x <= max(xs) + reach and min(ys) - reach <= y <= max(ys) + reach


def _has_key_points(numbers: Sequence[float]) -> bool:
    x, y, width, height, *rest = numbers
    if not (_fits(x, width) and _fits(y, height)):
        return False
    margin = 0.5 + _MAX_POINT_OVERHANG

    def is_inside(point: _Point) -> bool:
        return point in _UNSEEN or (abs(point[0] - x) <= margin * width and abs(point[1] - y) <= margin * height)

    if all(map(is_inside, _pairs(rest))):
        return True
    flagged = list(zip(rest[::3], rest[1::3], rest[2::3], strict=False))
    is_flagged = len(rest) % 3 == 0 and all(0 <= flag <= _MAX_FLAG for *_, flag in flagged)
    return is_flagged and all(flag == 0 or is_inside((at_x, at_y)) for at_x, at_y, flag in flagged)


def _fits(middle: float, side: float) -> bool:
    return side > 0 and side / 2 - _MAX_OVERHANG <= middle <= 1 + _MAX_OVERHANG - side / 2


def _pairs(numbers: Sequence[float]) -> list[_Point]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))
