from __future__ import annotations

import pytest
from served import BOUNDARY, FORM_TYPE, form

from brs_detr.serve.refusal import Refusal
from brs_detr.serve.uploads import MAX_NAME_LENGTH, file_name, split_form


def test_contents_come_out_as_they_went_in() -> None:
    contents = [bytes(range(256)) * 5, b"\r\n--" + BOUNDARY[:-1].encode() + b"\r\n", b"", b"\r\n"]
    uploads = split_form(form(*[(f"{n}.png", content) for n, content in enumerate(contents)]), FORM_TYPE, 4)
    assert [upload.name for upload in uploads] == ["0.png", "1.png", "2.png", "3.png"]
    assert [upload.content for upload in uploads] == contents


def test_one_file_too_many() -> None:
    body = form(("a", b"1"), ("b", b"2"), ("c", b"3"))
    assert len(split_form(body, FORM_TYPE, 3)) == 3
    with pytest.raises(Refusal, match="more than 2 files") as caught:
        split_form(body, FORM_TYPE, 2)
    assert caught.value.status == 413


def test_a_form_cut_anywhere_is_refused() -> None:
    body = form(("a.png", b"first"), ("b.png", b"second"))
    for end in range(len(body) - 2):  # the last line end may be missing
        with pytest.raises(Refusal) as caught:
            split_form(body[:end], FORM_TYPE, 2)
        assert caught.value.status == 400


@pytest.mark.parametrize(
    "name", ["street.jpg", "a b (1).png", "straße.jpg", "猫.png", "x" * MAX_NAME_LENGTH, "...", "a:b"]
)
def test_good_names(name: str) -> None:
    assert file_name(name.encode()) == name


@pytest.mark.parametrize(
    "raw",
    [b"", b".", b"..", b"/etc/passwd", b"../a.png", b"C:\\a.png", b"a\0.png", b"a\x1b[31m.png", b"a\r\nb", b"\xff.png",
     "a\u202egnp.png".encode(), "a\u2028b".encode(), b"x" * (MAX_NAME_LENGTH + 1), b"x" * 10_000],
)  # fmt: skip
def test_bad_names(raw: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        file_name(raw)
    assert caught.value.status == 400
    assert caught.value.message.isprintable() and len(caught.value.message) < 100
