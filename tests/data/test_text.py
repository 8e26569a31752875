from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from brs_detr.data.text import NotUtf8, decoded, read_json, read_text
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
