"""Tell polygons from boxes with key points, whose rows have the same number of columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from brs_detr.data.findings import FaultKind

Shape = Literal["box", "polygon", "key points", "either", "tracked"]
"""What a row can be: four numbers are a box; more of them a polygon, a box with key points in it, or either.

`tracked` has a confidence and the number of a track at its end, as the predictions of a tracker do.
"""

UNCLEAR_ROW = FaultKind(
    "row that may be a polygon, or a box with key points (landmarks)",
    "Say which in data.yaml: kpt_shape: [5, 2] for a box and 5 points of 2 numbers, kpt_shape: [0, 2] for polygons.",
)
TRACKED_ROW = FaultKind(
    "row with a confidence and the number of a track behind its box or polygon",
    "Take the last two numbers out. If they are the last corner of a polygon, say kpt_shape: [0, 2] in data.yaml.",
)
POLYGON_ROW = FaultKind(
    "row that is read as a polygon",
    "Its bounding box is taken. If it is a box with key points, say so with kpt_shape in data.yaml.",
    "note",
)

_MAX_FLAG = 2  # 0 is absent, 1 hidden, 2 visible; a fraction is a confidence
_UNSEEN = ((0.0, 0.0), (-1.0, -1.0))  # coordinates of a key point that is not there
_MAX_OVERHANG = 0.01  # of a box beyond the image, as a fraction of that
_MAX_POINT_OVERHANG = 0.1  # of a key point beyond its box, as a fraction of that
_MAX_POLYGON_OVERHANG = 0.5  # of a corner beyond the image, as a fraction of that

Point = tuple[float, float]


def shape_of(numbers: Sequence[float]) -> Shape:
    """What a row can be.

    A box lies in the image, and its key points in the box. A polygon lies more or less in the image, and its second
    corner, in place of which a box has width and height, near the others.

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
    """What the rows of a data set, which are alike, are where they have more than four numbers."""
    counts = Counter(shapes)
    tracked = counts.pop("tracked", 0)
    if tracked and tracked >= counts["polygon"] + counts["key points"] + counts["either"]:
        return TRACKED_ROW
    return UNCLEAR_ROW if is_unclear(counts.elements()) else POLYGON_ROW


def is_unclear(shapes: Iterable[Shape]) -> bool:
    """Whether the rows of a data set, which are alike, may be boxes with key points."""
    counts = Counter(shapes)
    is_undecided = counts["either"] > 0 and counts["polygon"] == 0
    return is_undecided or counts["key points"] > counts["polygon"]


def _is_tracked(numbers: Sequence[float]) -> bool:
    """Whether a confidence and a whole number follow that is no coordinate, or a box: 1 may end a polygon."""
    *places, confidence, track = numbers
    is_end = 0 <= confidence <= 1 and track >= 0 and float(track).is_integer()
    if not is_end or not all(map(_is_near_image, places)) or _has_key_points(numbers):
        return False
    is_box = len(places) == 4 and _fits(places[0], places[2]) and _fits(places[1], places[3])
    return is_box or not _is_near_image(track)


def _is_near_image(number: float) -> bool:
    return -_MAX_POLYGON_OVERHANG <= number <= 1 + _MAX_POLYGON_OVERHANG


def _is_second_near(corners: list[Point]) -> bool:
    """Whether the second corner is no farther from the others than these reach."""
    xs, ys = zip(*(corners[:1] + corners[2:]), strict=True)
    reach = max(max(xs) - min(xs), max(ys) - min(ys))
    (x, y) = corners[1]
    return min(xs) - reach <= x <= max(xs) + reach and min(ys) - reach <= y <= max(ys) + reach


def _has_key_points(numbers: Sequence[float]) -> bool:
    x, y, width, height, *rest = numbers
    is_box = _fits(x, width) and _fits(y, height)
    if not is_box:
        return False
    margin = 0.5 + _MAX_POINT_OVERHANG

    def is_inside(point: Point) -> bool:
        return point in _UNSEEN or (abs(point[0] - x) <= margin * width and abs(point[1] - y) <= margin * height)

    flagged = list(zip(rest[::3], rest[1::3], rest[2::3], strict=False))
    is_flagged = len(rest) % 3 == 0 and all(0 <= flag <= _MAX_FLAG for *_, flag in flagged)
    return all(map(is_inside, _pairs(rest))) or (
        is_flagged and all(flag == 0 or is_inside((at_x, at_y)) for at_x, at_y, flag in flagged)
    )


def _fits(middle: float, side: float) -> bool:
    """Whether a side of a box lies in the image."""
    return side > 0 and side / 2 - _MAX_OVERHANG <= middle <= 1 + _MAX_OVERHANG - side / 2


def _pairs(numbers: Sequence[float]) -> list[Point]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))
