"""What docs/install.md says of a busy machine is what was measured and what the command line does."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

from brs_detr.cli.openmp import SPIN_COUNT

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")


def test_a_busy_machine() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "busy_machine_cpu.json").read_text())
    markdown = runpy.run_path(str(ROOT / "benchmarks" / "busy_machine.py"))["busy_markdown"]
    assert re.search(r"<!-- busy -->\n(.*?)<!-- /busy -->", PAGE, re.DOTALL)[1] == markdown(result)
    assert f"sets `GOMP_SPINCOUNT={SPIN_COUNT}`" in PAGE
