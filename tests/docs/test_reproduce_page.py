"""``docs/reproduce.md`` and ``docs/detectors.md``: their tables are those of the results, their commands exist."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from brs_detr.cli import main
from brs_detr.reproduce.tables import ROWS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
DETECTORS = (ROOT / "docs" / "detectors.md").read_text(encoding="utf-8")
LINES = re.findall(r"^(brs-detr [^#\n]+?)\s*(?:#.*)?$", PAGE + DETECTORS, flags=re.M)
COMMANDS = sorted({*LINES, *re.findall(r"`(brs-detr [^`]+)`", PAGE + DETECTORS)})


def test_tables_are_those_of_the_results() -> None:
    update = runpy.run_path(str(ROOT / "benchmarks" / "update_docs.py"))
    assert update["reproduce_page"](PAGE) == PAGE
    assert PAGE.count("swin-l") > 3
    assert update["detectors_page"](DETECTORS) == DETECTORS
    assert DETECTORS.count("`brs-detr reproduce table") >= sum(bool(row.loss) for row in ROWS)


def test_the_readme_counts_the_configs() -> None:
    configs = list((ROOT / "configs" / "ranking_losses").glob("*.py"))
    assert f"{len(configs)} configs of six detectors" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len({row.detector for row in ROWS if row.loss}) == 6 and len({row.loss for row in ROWS if row.loss}) == 7


def test_every_row_that_can_be_run_has_its_command() -> None:
    for row in ROWS:
        if row.config:
            assert f"--row {row.name}`" in (DETECTORS if row.loss else PAGE), row.name


@pytest.mark.parametrize("text", COMMANDS)
def test_commands_have_the_options_that_they_are_given(text: str) -> None:
    _, *arguments = shlex.split(text)
    names = [argument.split("=")[0] for argument in arguments if argument.startswith("--")]
    command = arguments[: 2 if arguments[0] == "bench" else 1]
    page = CliRunner().invoke(main, [*command, "--help"]).output
    assert all(name in page for name in names), text
