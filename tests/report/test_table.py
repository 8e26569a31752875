from __future__ import annotations

from rich.console import Console

from brs_detr.report.tables import ap_table

ROWS = {"red [cell]": {"AP": 0.51234, "AP50": 0.9, "boxes": 12}, "a|b": {"AP": -1.0, "AP50": float("nan")}}
OVERALL = {"AP": 0.5, "AP50": 0.75, "boxes": 12}


def test_the_console_shows_names_as_they_are() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(ap_table(ROWS, OVERALL, title="test split"))
        console.print(ap_table(ROWS))
    words = " ".join(capture.get().split())
    assert "test split" in words and "red [cell] 0.512 0.900 12 a|b - - -" in words
    assert words.count("all classes 0.500 0.750 12") == 1


def test_a_long_name_is_cut_in_the_middle() -> None:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(ap_table({"beginning" + "x" * 500 + "end": {"AP": 0.5}}))
    assert any("beginning" in line and "...xxx" in line and "xend" in line for line in capture.get().splitlines())
