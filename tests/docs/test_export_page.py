"""The tables of docs/export.md are those of the measurements and of the code."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

from brs_detr.cli.export import FORMAT_NAMES
from brs_detr.export.comparison import TOLERANCES
from brs_detr.export.formats import FORMATS, OPSETS
from brs_detr.export.latency_table import latency_markdown
from brs_detr.export.parity import TIMES_OWN_ERROR

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def between(name: str) -> str:
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", PAGE, re.DOTALL)[1]


def test_parity() -> None:
    records = json.loads((RESULTS / "export_parity_cpu.json").read_text())["records"]
    markdown = runpy.run_path(str(ROOT / "benchmarks" / "export_parity.py"))["parity_markdown"]
    assert between("parity") == markdown(records)
    for record in records:
        if "AP_model" in record:
            assert abs(record["AP_model"] - record["AP_artefact"]) <= 1e-4
        assert record["unmatched"] <= 0.02 * record["detections"]
        assert record.get("largest_share_of_bound", 0.0) <= 1


def test_gate() -> None:
    records = json.loads((RESULTS / "export_gate_cpu.json").read_text())["records"]
    markdown = runpy.run_path(str(ROOT / "benchmarks" / "export_gate.py"))["gate_markdown"]
    assert between("gate") == markdown(records)
    assert [record["refused"] for record in records] == [None] * len(records)


def test_latency() -> None:
    (path,) = RESULTS.glob("inference_*.json")
    assert between("latency") == latency_markdown(json.loads(path.read_text())["records"])


def test_tolerances() -> None:
    for precision, tolerance in TOLERANCES.items():
        assert f"{tolerance.box:g} px and {tolerance.score:g} in {precision}" in PAGE
    assert TIMES_OWN_ERROR == 2
    assert "twice as far" in PAGE


def test_formats() -> None:
    assert tuple(FORMATS) == FORMAT_NAMES
    for name in FORMATS:
        assert f"| `{name}` |" in PAGE
    assert f"opset {OPSETS[0]} and later" in PAGE
