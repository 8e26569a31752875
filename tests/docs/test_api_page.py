"""docs/api.md is generated from the current docstrings."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "api_page.py"))["api_markdown"]()
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert page == made, "python benchmarks/api_page.py"
