"""``docs/scores.md`` says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from brs_detr.analysis.calibration_errors import DECE_BINS, DECE_LOWEST, LAECE_BINS
from brs_detr.cli import main
from brs_detr.runtime.calibration import DEFAULT_THRESHOLD

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "scores.md").read_text(encoding="utf-8")


def test_numbers_are_those_of_the_code() -> None:
    assert f"in {DECE_BINS} bins" in TEXT and f"in {LAECE_BINS} bins of each class" in TEXT
    assert f"scores of {DECE_LOWEST} and more" in TEXT
    assert f"shown from {DEFAULT_THRESHOLD} on" in TEXT


@pytest.mark.parametrize("command", ["calibrate", "eval"])
def test_options_exist(command: str) -> None:
    used = {
        option for line in re.findall(rf"brs-detr {command} [^`\n]*", TEXT) for option in re.findall(r"--[\w-]+", line)
    }
    help_text = CliRunner().invoke(main, [command, "--help"]).output
    assert used and all(option in help_text for option in used)


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)\s#]+)", TEXT):
        assert (DOCS / target).exists(), target
