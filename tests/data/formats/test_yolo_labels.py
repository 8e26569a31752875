from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brs_detr.data.formats.yolo_labels import box_xywh, kind_of_rows, looks_like_labels, read_label_file, shape_of
from brs_detr.data.kinds import (
    BROKEN_LABEL_FILE,
    BROKEN_OBJECT,
    LARGE_CLASS,
    MAX_CLASSES,
    NOT_UTF8_FILE,
    PIXEL_ROW,
    POLYGON_ROW,
    TRACKED_ROW,
    UNCLEAR_ROW,
)

SIDE = 4096


@st.composite
def _drawn(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """A size (h, w) and a box (x1, y1, x2, y2) at whole pixels in it."""
    height, width = draw(st.tuples(st.integers(2, SIDE), st.integers(2, SIDE)))
    x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return (height, width), (x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height)))


@given(_drawn())
def test_boxes_drawn_at_whole_pixels_come_back_exactly(tmp_path_factory, drawn) -> None:
    (height, width), (x1, y1, x2, y2) = drawn
    numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    file = tmp_path_factory.getbasetemp() / "label.txt"
    file.write_text(f"0 {' '.join(f'{number:.6f}' for number in numbers)}\n")
    ((row,), faults) = read_label_file(file, "label.txt")
    assert faults == []
    assert box_xywh(row.box_xyxy_norm, (height, width)) == (x1, y1, x2 - x1, y2 - y1)


@pytest.mark.parametrize(
    ("text", "box_xyxy_norm"),
    [
        ("0 0.5 0.5 0.25 0.5", (0.375, 0.25, 0.625, 0.75)),
        ("0 0.25 0.5 0.75 0.125 0.5 0.875", (0.25, 0.125, 0.75, 0.875)),  # triangle
        ("0 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75", (0.25, 0.25, 0.75, 0.75)),  # rotated box
        ("0.0\t.5   .5 .25 5e-1", (0.375, 0.25, 0.625, 0.75)),
        ("0 0.5 0.5 -0.25 0", (0.625, 0.5, 0.375, 0.5)),  # for the check to find
    ],
)
def test_rows_become_corners(tmp_path: Path, text: str, box_xyxy_norm: tuple[float, ...]) -> None:
    (tmp_path / "a.txt").write_text(text)
    ((row,), faults) = read_label_file(tmp_path / "a.txt", "a.txt")
    assert (row.number, row.box_xyxy_norm, row.line, faults) == (0, box_xyxy_norm, 1, [])


def test_blank_lines_and_byte_order_marks_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeff\n3 0.5 0.5 0.1 0.1\r\n\n7 0.5 0.5 0.1 0.1", encoding="utf-8")
    rows, faults = read_label_file(tmp_path / "a.txt", "a.txt")
    assert [(row.number, row.line) for row in rows] == [(3, 2), (7, 4)] and faults == []


def test_key_points_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.25 0.5 0.1 0.1 2 0 0 0\n")
    ((row,), _) = read_label_file(tmp_path / "a.txt", "a.txt", num_keypoint_columns=6)
    assert row.box_xyxy_norm == (0.375, 0.25, 0.625, 0.75)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("dog 0.5 0.5 0.1 0.1", BROKEN_OBJECT, "'dog 0.5 0.5 0.1 0.1' are not numbers"),
        ("0,0.5,0.5,0.1,0.1", BROKEN_OBJECT, "are not numbers"),
        ("0 0.5 nan 0.1 0.1", BROKEN_OBJECT, "holds a NaN or infinite number"),
        ("0 0.5 0.5 0.1 inf", BROKEN_OBJECT, "holds a NaN or infinite number"),
        ("-1 0.5 0.5 0.1 0.1", BROKEN_OBJECT, "-1 is not a class number"),
        ("0.5 0.5 0.5 0.1 0.1", BROKEN_OBJECT, "0.5 is not a class number"),
        ("0 0.5 0.5 0.1", BROKEN_OBJECT, "3 numbers behind the class, neither 4 nor"),
        ("0", BROKEN_OBJECT, "0 numbers behind the class"),
        ("0 0.5 0.5 0.1 0.1 0.9", BROKEN_OBJECT, "5 numbers behind the class"),
        ("0 320 240 100 50", PIXEL_ROW, "0 320 240 100 50"),
        (f"{MAX_CLASSES} 0.5 0.5 0.1 0.1", LARGE_CLASS, "class 32768"),
        ("300000000 0.5 0.5 0.1 0.1", LARGE_CLASS, "class 300000000"),
        ("1e300 0.5 0.5 0.1 0.1", LARGE_CLASS, "class 1e300"),
        (f"{'9' * 5000} 0.5 0.5 0.1 0.1", BROKEN_OBJECT, "holds a NaN or infinite number"),
        (f"0 {'word ' * 20}", BROKEN_OBJECT, "'0 word word word word word word word wor...' are"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(tmp_path: Path, text: str, kind, words: str) -> None:
    (tmp_path / "a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{text}\n")
    rows, ((found, message),) = read_label_file(tmp_path / "a.txt", "labels/a.txt")
    assert len(rows) == 1 and found is kind and found.is_fatal
    assert message.startswith("labels/a.txt, line 2: ") and words in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"0 \xff\xfe")
    told = (NOT_UTF8_FILE, "a.txt is not text in UTF-8 (byte 3, line 1)")
    assert read_label_file(tmp_path / "a.txt", "a.txt") == ([], [told])
    (_, ((kind, text),)) = read_label_file(tmp_path / "b.txt", "b.txt")
    assert (kind, text) == (BROKEN_LABEL_FILE, "b.txt: No such file or directory")
    (tmp_path / "c.txt").symlink_to("/dev/zero")
    (_, ((kind, text),)) = read_label_file(tmp_path / "c.txt", "c.txt")
    assert (kind, text) == (BROKEN_LABEL_FILE, "c.txt: It is a pipe or a device")


def test_the_largest_class_number_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{MAX_CLASSES - 1} 0.5 0.5 0.1 0.1\n")
    ((row,), faults) = read_label_file(tmp_path / "a.txt", "a.txt")
    assert row.number == MAX_CLASSES - 1 and faults == []


@pytest.mark.parametrize(("num_corners", "cure"), [(4, "take out a confidence behind a polygon"), (3, "confidence")])
def test_a_confidence_behind_a_polygon_is_named(tmp_path: Path, num_corners: int, cure: str) -> None:
    (tmp_path / "a.txt").write_text(f"0{' 0.2 0.3' * num_corners} 0.9\n")
    _, ((kind, text),) = read_label_file(tmp_path / "a.txt", "a.txt")
    assert kind == BROKEN_OBJECT and cure in text


def test_the_cure_for_numbers_that_are_no_fractions_fits_percent_too() -> None:
    assert "percent by 100" in PIXEL_ROW.cure


@pytest.mark.parametrize("head", ["class x y w h", "# class x y w h"])
def test_a_heading_does_not_hide_the_rows_below_it(tmp_path: Path, head: str) -> None:
    (tmp_path / "a.txt").write_text(f"{head}\n0 0.5 0.5 0.2 0.2\n")
    assert looks_like_labels(tmp_path / "a.txt")


FACE = [0.5, 0.4, 0.2, 0.3, 0.45, 0.35, 0.55, 0.35, 0.5, 0.4, 0.46, 0.48, 0.54, 0.48]


@pytest.mark.parametrize(
    ("numbers", "shape"),
    [
        ([0.5, 0.5, 0.2, 0.2], "box"),
        ([0.25, 0.5, 0.75, 0.125, 0.5, 0.875], "polygon"),
        ([0.25, 0.5, 0.5, 0.25, 0.75, 0.5, 0.5, 0.75], "polygon"),  # rotated box
        (FACE, "key points"),
        ([*FACE[:4], *[-1.0] * 10], "key points"),  # no landmark of this face was seen
        ([0.5, 0.4, 0.1, 0.1, 0.5, 0.4, 2, 0.48, 0.42, 1], "key points"),
        ([0.5, 0.4, 0.1, 0.1, 0.5, 0.4, 2, 0, 0, 0], "key points"),
        ([0.5, 0.8, 0.1, 0.1, 0.5, 0.8, 0.9, 0.48, 0.78, 0.7], "either"),  # with a confidence each
        ([0.5, 0.5, 0.45, 0.5, 0.4, 0.4], "either"),
        ([0.3, 0.57, 0.17, 0.32, 0.9, 1], "tracked"),  # box, confidence, number of the track
        ([0.3, 0.57, 0.17, 0.32, 0.9, 7], "tracked"),
        ([0.2, 0.4, 0.4, 0.4, 0.4, 0.7, 0.2, 0.7, 0.9, 7], "tracked"),  # behind a polygon
        ([0.2, 0.4, 0.4, 0.4, 0.4, 0.7, 0.2, 0.7, 0.9, 1], "polygon"),  # may end at the edge of the image
        ([0.6, 0.2, 0.9, 0.9, 0.3, 1], "polygon"),
    ],
)
def test_a_row_tells_what_it_can_be(numbers: list[float], shape: str) -> None:
    assert shape_of(numbers) == shape


def _polygons(rng: np.random.Generator, num_corners: int) -> list[list[float]]:
    """Corners around the middle of 40 objects, in order of their angle."""
    rows = []
    for middle, radius in zip(rng.uniform(0.2, 0.8, (40, 2)), rng.uniform(0.02, 0.2, 40), strict=True):
        angles = np.sort(rng.uniform(0, 2 * np.pi, num_corners))
        corners = middle + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        rows.append(corners.ravel().tolist())
    return rows


def _faces(rng: np.random.Generator, num_points: int) -> list[list[float]]:
    """A box in the image and points in it, of 40 objects."""
    rows = []
    for middle, side in zip(rng.uniform(0.25, 0.75, (40, 2)), rng.uniform(0.03, 0.45, (40, 2)), strict=True):
        points = middle + side * rng.uniform(-0.5, 0.5, (num_points, 2))
        rows.append([*middle.tolist(), *side.tolist(), *points.ravel().tolist()])
    return rows


@pytest.mark.parametrize("num_points", [1, 2, 3, 5, 6, 17])
@pytest.mark.parametrize("seed", range(5))
def test_the_rows_of_a_data_set_together_tell_polygons_from_key_points(seed: int, num_points: int) -> None:
    rng = np.random.default_rng(seed)
    assert kind_of_rows(map(shape_of, _faces(rng, num_points))) == UNCLEAR_ROW
    assert kind_of_rows(map(shape_of, _polygons(rng, num_points + 2))) == POLYGON_ROW


def test_rows_that_all_may_be_either_are_unclear_and_one_polygon_decides() -> None:
    for shapes in (["box", "either"], ["polygon", "key points", "key points"]):
        assert kind_of_rows(shapes) == UNCLEAR_ROW
    for shapes in (["either", "polygon"], ["polygon", "key points"], ["box"], []):
        assert kind_of_rows(shapes) == POLYGON_ROW


def test_tracks_count_when_most_of_the_longer_rows_have_one() -> None:
    assert kind_of_rows(["box", "tracked"]) == TRACKED_ROW
    assert kind_of_rows(["tracked", "polygon", "polygon"]) == POLYGON_ROW
    assert kind_of_rows(["tracked", "either", "either"]) == UNCLEAR_ROW
    assert kind_of_rows(["box"]) == POLYGON_ROW
