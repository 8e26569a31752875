"""The console makes hostile text safe, and everything is printed with it."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

import brs_detr
from brs_detr.run.console import PlainConsole, counter, make_bar, make_console, stage, track

HOSTILE = "a\x1b]\x07\x9b2J\r\b\u202e\u200b\udcff[red]c[/]:car:"
SEEN = r"a\u001b]\u0007\u009b2J\r\b\u202e\u200b\udcff[red]c[/]:car:"


def controls(text: str) -> set[str]:
    return {character for character in text if not character.isprintable()} - {"\n"}


@pytest.fixture
def console() -> Console:
    return PlainConsole(file=io.StringIO(), width=160)


@pytest.fixture
def terminal() -> Console:
    environment = {"TERM": "xterm-256color"}  # a dumb terminal gets no codes
    return PlainConsole(file=io.StringIO(), width=500, force_terminal=True, _environ=environment)


def output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_line(console: Console) -> None:
    console.print(HOSTILE)
    assert output(console) == SEEN + "\n"


def test_a_table(console: Console) -> None:
    table = Table(HOSTILE, title=HOSTILE, show_footer=True)
    table.columns[0].footer = HOSTILE
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))  # rich itself drops some of them
    console.print(table)
    assert output(console).count(SEEN) == 4 and controls(output(console)) == set()


def test_an_overlong_name_is_cut(console: Console) -> None:
    console.print("Left out: " + "x" * 5000 + ".jpg")
    assert len(output(console)) < 150 and output(console).endswith("x.jpg\n")


def test_a_terminal_gets_the_codes_of_rich_alone(terminal: Console) -> None:
    for show in (stage, counter):
        with show(HOSTILE, terminal):
            pass
    list(track([1, 2], HOSTILE, terminal))
    with make_bar(terminal, Progress) as bar:
        bar.add_task(HOSTILE, note=HOSTILE)
    shown = output(terminal)
    assert "\x1b" in shown  # its own
    for code in ("\x1b]", "\x07", "\x9b", "\b", "\u202e", "\u200b", "\udcff"):
        assert code not in shown
    assert shown.count(SEEN) > 3


def test_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    make_console(stderr=True).print(HOSTILE)
    assert capsys.readouterr() == ("", SEEN + "\n")


def test_nothing_is_said_but_through_such_a_console() -> None:
    """`click.echo` and `print` would not escape names; `info --json` prints complete JSON."""
    package = Path(brs_detr.__file__).parent
    files = [file for file in package.rglob("*.py") if any(map(_speaks, ast.walk(ast.parse(file.read_text("utf-8")))))]
    assert [file.relative_to(package).as_posix() for file in files] == ["cli/info.py"]


def _speaks(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("print", "click.echo", "Console"):
        return False
    return not any(keyword.arg == "quiet" for keyword in node.keywords)
