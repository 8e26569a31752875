"""``docs/reliability.md`` shows the faults that tests are marked with, and what the soak measured."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    update = runpy.run_path(str(ROOT / "benchmarks" / "update_docs.py"))
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert update["reliability_page"](text) == text, "run python benchmarks/update_docs.py"


def test_there_are_many_faults_and_none_twice() -> None:
    faults = runpy.run_path(str(ROOT / "benchmarks" / "fault_table.py"))["find_faults"](ROOT)
    assert len(faults) >= 40
    assert len({fault.what for fault in faults}) == len(faults)
    assert all(fault.what and fault.answer for fault in faults)
