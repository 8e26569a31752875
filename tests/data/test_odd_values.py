from __future__ import annotations

import math
from typing import Any

import pytest

from brs_detr.data.odd_values import MAX_DEPTH, MAX_INTEGER, is_number, is_text, odd_values, without_odd_values


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("tree", "texts"),
    [
        ({"images": [{"id": 1, "name": "Käse", "size": [1, 2.5], "x": None, "y": True}]}, []),
        ({"a": [1, 2.5, math.nan]}, ["a[2] is nan"]),
        ({"a": {"b": math.inf}, "c": [[-math.inf]]}, ["c[0][0] is -inf", "a.b is inf"]),
        ({"a": "x\ud800"}, [r"a is 'x\ud800'"]),
        ({"a": {"\udfff": 1}}, [r"a key of a is '\udfff'"]),
        ({"a": [1e308, 1e308], "b": [10**400, 0.5]}, []),
        ([math.nan], ["[0] is nan"]),
    ],
)
def test_values_are_found_with_their_place(tree: Any, texts: list[str]) -> None:
    assert sorted(odd_values(tree)) == sorted(texts)


def test_keys_can_be_passed_over() -> None:
    assert list(odd_values({"bbox": [math.nan], "file_name": "\udce9"}, skipped=("bbox", "file_name"))) == []


def test_nesting_is_followed_so_far_and_no_farther() -> None:
    assert list(odd_values({"a": nested(MAX_DEPTH // 2)})) == []
    (text,) = odd_values({"a": nested(100_000)})
    assert text.startswith("a[0][0]") and text.endswith(f"is nested more than {MAX_DEPTH} deep")


def test_a_copy_has_null_in_their_place() -> None:
    tree = {"a": [1, math.nan, "\ud800", {"b": -math.inf}], "c\ud800": 1, "file_name": "\udce9", "d": "é"}
    assert without_odd_values(tree) == {"a": [1, None, None, {"b": None}], "file_name": "\udce9", "d": "é"}
    assert without_odd_values(nested(100_000)) != nested(100)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (-MAX_INTEGER, True), (0.5, True), (math.nan, True), (MAX_INTEGER + 1, False), (True, False)],
)
def test_numbers_fit_into_64_bits(value: Any, expected: bool) -> None:
    assert is_number(value) is expected


def test_texts_are_whole() -> None:
    assert is_text("a") and is_text("ü😀") and not is_text("\ud83d")
