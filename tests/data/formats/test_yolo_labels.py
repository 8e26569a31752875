from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brs_detr.data.bounds import MAX_CLASSES
from brs_detr.data.formats.source_faults import BROKEN_LABEL_FILE, BROKEN_OBJECT, NOT_UTF8_FILE
from brs_detr.data.formats.yolo_labels import LARGE_CLASS, PIXEL_ROW, box_xywh, looks_like_labels, read_label_file

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
