from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brs_detr.data.text import (
    MAX_DEPTH,
    MAX_INTEGER,
    NotUtf8,
    decoded,
    is_number,
    is_text,
    odd_values,
    read_json,
    read_text,
    without_odd_values,
)
from brs_detr.errors import UserError

TEXT = "Löwe\nBär\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_do_not_matter(tmp_path: Path, encoding: str, end: str) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT.replace("\n", end).encode(encoding))
    assert read_text(tmp_path / "a.txt") == TEXT


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
def test_both_orders_of_bytes_are_read_where_the_mark_tells_them(name: str) -> None:
    assert decoded(f"\ufeff{TEXT}".encode(name), "a.txt") == TEXT
    with pytest.raises(NotUtf8, match=r"a\.txt is not text in UTF-8 \(byte \d, line 1\)"):
        decoded(TEXT.encode(name), "a.txt")


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ("cat\nLöwe".encode("cp1252"), "byte 6, line 2"),
        ("cat\r\nLöwe".encode("cp1252"), "byte 7, line 2"),
        (b"\xef\xbb\xbfcat\rL\xf6we", "byte 9, line 2"),
        (b"cat\0", "byte 4, line 1"),
        ("cat".encode("utf-32"), "byte 3, line 1"),
        (b"\xff\xfec", "byte 3, line 1"),
    ],
)
def test_another_encoding_is_refused_by_byte_and_line(raw: bytes, place: str) -> None:
    with pytest.raises(NotUtf8, match=rf"^a\.txt is not text in UTF-8 \({place}\)\.\n  Save the file as UTF-8\.$"):
        decoded(raw, "a.txt")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot open .*a\.txt: No such file"):
        read_text(tmp_path / "a.txt")


def make_pipe(file: Path) -> None:
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_pipe, "It is a pipe or a device"),
        (lambda file: file.symlink_to("/dev/zero"), "It is a pipe or a device"),
        (Path.mkdir, "Is a directory"),
        (lambda file: file.write_text("12345"), "It has 5 bytes, more than 4"),
    ],
)
def test_what_is_no_file_or_a_large_one_is_not_read(tmp_path: Path, make: Callable, reason: str) -> None:
    make(tmp_path / "a.txt")
    with pytest.raises(UserError, match=rf"Cannot open .*a\.txt: {reason}"):
        read_text(tmp_path / "a.txt", max_bytes=4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n "b": ]', "Expecting value at line 2, column 7"),
        ("[1,\n" + "9" * 5000 + "]", "a number of more than 4,300 digits at line 2, column 1"),
        ("[" * 200_000, "lists in lists without end"),
    ],
)
def test_broken_json_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=rf"a\.json is not valid JSON: .*{words}"):
        read_json(tmp_path / "a.json")


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
