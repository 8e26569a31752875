from __future__ import annotations

import pytest

from brs_detr.errors import UserError
from brs_detr.predict.class_choice import choose_labels

NAMES = ("car", "bus", "x", "a, b", "y ", "a", "c, d, e", "c")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("car,bus", [0, 1]),
        (" bus , car", [0, 1]),
        ("a, b", [3]),
        ("car,a, b,x", [0, 2, 3]),
        ('"a, b",a', [3, 5]),
        ("c, d, e,y", [4, 6]),
        ("y ,c", [4, 7]),
        ("car,", [0]),
        ("car,,bus", [0, 1]),
    ],
)
def test_names_may_hold_commas(text: str, labels: list[int]) -> None:
    assert choose_labels(text, NAMES) == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("car,cart", r"no class 'cart'.\s+Did you mean 'car'"),
        ("", "--classes '' names no class"),
        (" ,", "--classes ' ,' names no class"),
        ("d, e", "no class 'd'"),
    ],
)
def test_unknown_names_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose_labels(text, NAMES)


def test_two_readings_are_refused_and_quotation_marks_choose() -> None:
    names = ("a", "b", "a, b", "twin", "twin")
    with pytest.raises(UserError, match="may mean 'a' and 'b', or 'a, b'"):
        choose_labels("a, b", names)
    assert choose_labels('"a, b"', names) == [2]
    assert choose_labels("a,b", names) == [0, 1]
    assert choose_labels("twin", names) == [3, 4]
