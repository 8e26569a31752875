"""What docs/serve.md says of a server under load is what was measured."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


def test_a_server_under_load() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "serve_under_load_cpu.json").read_text())
    markdown = runpy.run_path(str(ROOT / "benchmarks" / "serve_under_load.py"))["serve_markdown"]
    assert re.search(r"<!-- serve-load -->\n(.*?)<!-- /serve-load -->", PAGE, re.DOTALL)[1] == markdown(result)


def test_it_was_the_load_that_is_promised() -> None:
    load = json.loads((ROOT / "benchmarks" / "results" / "serve_under_load_cpu.json").read_text())["load"]
    assert (load["uploads"], load["slow_connections"]) == (500, 200)
    assert load["detector_gb"]["after"] < 1.1 * load["detector_gb"]["before"]
