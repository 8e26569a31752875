from __future__ import annotations

import json

import pytest

from brs_detr.printable import LONGEST_LINE, LONGEST_NAME, LONGEST_WORD, cut, for_terminal, printable, short_name


@pytest.mark.parametrize(
    ("character", "written"),
    [
        ("\x1b", r"\u001b"),
        ("\r", r"\r"),
        ("\x07", r"\u0007"),
        ("\b", r"\b"),
        ("\x7f", r"\u007f"),
        ("\x9b", r"\u009b"),
        ("\u202e", r"\u202e"),
        ("\u2066", r"\u2066"),
        ("\u200b", r"\u200b"),
        ("\ufeff", r"\ufeff"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\udb40\udc41"),
    ],
)
def test_what_steers_or_is_not_seen_is_written_out(character: str, written: str) -> None:
    assert printable(f"a{character}b") == f"a{written}b"
    assert json.loads(f'"{written}"') == character


def test_what_is_seen_stays() -> None:
    for text in (
        "",
        "line\n\tline",
        "größer, 汽车, автомобиль, سيارة, कार",
        "3\u202f45\xa0h\u3000",
        "🚗",
        "[red]x[/] :car:",
    ):
        assert printable(text) == for_terminal(text) == text


def test_json_stays_the_same() -> None:
    content = {"\x1b]0;x\x07": ["\u202e", "\x9b", "\U000e0041", "a\\nb", "é"]}
    assert json.loads(printable(json.dumps(content, ensure_ascii=False, indent=1))) == content


def test_beginning_and_end_are_kept() -> None:
    name = "beginning" + "x" * 500 + "end.jpg"
    assert cut("short.jpg", 20) == "short.jpg"
    assert cut(name, 30).startswith("beginning") and cut(name, 30).endswith("...xxxend.jpg")
    assert len(cut(name, 30)) == 30
    assert len(short_name(name)) == LONGEST_NAME and short_name("a\nb") == r"a\nb"


def test_overlong_words_and_lines_are_cut_and_paths_are_not() -> None:
    path = "/".join(["a" * 60] * 10)
    assert for_terminal(f"Written to {path}") == f"Written to {path}"
    first, second = for_terminal(f"no {'y' * 500_000} here\n{'word ' * 100_000}").split("\n")
    assert len(first) == LONGEST_WORD + len("no  here") and first.startswith("no yyy") and first.endswith("y here")
    assert len(second) == LONGEST_LINE
