"""The fault table of ``docs/reliability.md``, from the test marks `pytest.mark.fault(area, what, answer)`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

AREAS = (
    "Interruptions",
    "Checkpoints",
    "Images and annotations",
    "Numbers",
    "Several processes",
    "Files from elsewhere",
    "Reproducing the paper",
)


class Fault(NamedTuple):
    """One row of the table.

    Args:
        area: one of `AREAS`.
        what: what goes wrong.
        answer: what happens then.
        test: test that proves it, `path::name`.
        is_slow: whether only `pytest --slow` runs the test.
    """

    area: str
    what: str
    answer: str
    test: str
    is_slow: bool


def find_faults(root: Path) -> list[Fault]:
    """Read the marks of all tests in `root/tests`, sorted by area, then by file."""
    faults = [fault for file in sorted((root / "tests").rglob("test_*.py")) for fault in _faults_of(file, root)]
    return sorted(faults, key=lambda fault: AREAS.index(fault.area))


def _faults_of(file: Path, root: Path) -> Iterator[Fault]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        marks = [ast.unparse(mark) for mark in node.decorator_list]
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                area, what, answer = map(ast.literal_eval, mark.args)
                test = f"{file.relative_to(root).as_posix()}::{node.name}"
                yield Fault(area, what, answer, test, "pytest.mark.slow" in marks)


def fault_markdown(root: Path) -> str:
    """Make a table for each area."""
    faults, parts = find_faults(root), []
    for area in AREAS:
        rows = [f"| {fault.what} | {fault.answer} | {_link(fault)} |" for fault in faults if fault.area == area]
        parts.append("\n".join([f"### {area}\n", "| fault | what happens | test |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _link(fault: Fault) -> str:
    file, _, name = fault.test.partition("::")
    return f"[`{name}`](../{file})" + " (slow suite)" * fault.is_slow
