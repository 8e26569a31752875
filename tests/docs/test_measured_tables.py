"""Tables in README and docs match `benchmarks/results` and the code."""

from __future__ import annotations

import json
import runpy
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from brs_detr.analysis.score_measures import DECE_BINS, DECE_LOWEST, LAECE_BINS
from brs_detr.cli.export import FORMAT_NAMES
from brs_detr.cli.process_setup import SPIN_COUNT
from brs_detr.exporting.formats import FORMATS, OPSETS
from brs_detr.exporting.parity import TIMES_OWN_ERROR, TOLERANCES
from brs_detr.reproduce.tables import ROWS
from brs_detr.runtime.calibration import DEFAULT_THRESHOLD

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def records(name: str) -> list[dict[str, Any]]:
    return json.loads((RESULTS / name).read_text())["records"]


@pytest.mark.parametrize("name", ["reproduce", "detectors", "export", "reliability", "install", "serve", "scores"])
def test_tables_are_those_of_the_results(name: str) -> None:
    update = runpy.run_path(str(ROOT / "benchmarks" / "update_docs.py"))
    text = page(name)
    assert "<!-- /" in text
    assert update["fill"](text, update["tables_of"](name)) == text, "run python benchmarks/update_docs.py"


def test_faults_are_many_and_none_is_there_twice() -> None:
    faults = runpy.run_path(str(ROOT / "benchmarks" / "fault_table.py"))["find_faults"](ROOT)
    assert len(faults) >= 40
    assert len({fault.what for fault in faults}) == len(faults)
    assert all(fault.what and fault.answer for fault in faults)


def test_exported_files_agree_with_their_models() -> None:
    for record in records("export_parity_cpu.json"):
        if "AP_model" in record:
            assert abs(record["AP_model"] - record["AP_artefact"]) <= 1e-4
        assert record["unmatched"] <= 0.02 * record["detections"]
        assert record.get("largest_share_of_bound", 0.0) <= 1
    assert {record["refused"] for record in records("export_gate_cpu.json")} == {None}


def test_the_page_on_export_has_formats_and_tolerances() -> None:
    text = page("export")
    for precision, tolerance in TOLERANCES.items():
        assert f"{tolerance.box:g} px and {tolerance.score:g} in {precision}" in text
    assert TIMES_OWN_ERROR == 2
    assert "twice that of the model" in text
    assert tuple(FORMATS) == FORMAT_NAMES
    for name in FORMATS:
        assert f"| `{name}` |" in text
    assert f"opset {OPSETS[0]} and later" in text


def test_the_page_on_scores_has_the_bins() -> None:
    text = page("scores")
    assert f"in {DECE_BINS} bins" in text and f"in {LAECE_BINS} bins of each class" in text
    assert f"scores of {DECE_LOWEST} and more" in text
    assert f"default threshold is {DEFAULT_THRESHOLD}" in text


def test_the_page_on_installation_has_the_spin_count() -> None:
    assert f"sets `GOMP_SPINCOUNT={SPIN_COUNT}`" in page("install")


def test_a_server_was_under_the_load_that_is_promised() -> None:
    load = json.loads((RESULTS / "serve_under_load_cpu.json").read_text())["load"]
    assert (load["uploads"], load["slow_connections"]) == (500, 200)
    assert load["detector_gb"]["after"] < 1.1 * load["detector_gb"]["before"]


def test_every_row_that_can_be_run_has_its_command() -> None:
    assert page("detectors").count("`brs-detr reproduce table") >= sum(bool(row.loss) for row in ROWS)
    for row in ROWS:
        if row.config:
            assert f"--row {row.name}`" in page("detectors" if row.loss else "reproduce"), row.name


def test_configs_are_counted() -> None:
    configs = list((ROOT / "configs" / "ranking_losses").glob("*.py"))
    assert f"{len(configs)} configs of six detectors with seven losses" in page("detectors")
    assert len({row.detector for row in ROWS if row.loss}) == 6 and len({row.loss for row in ROWS if row.loss}) == 7


def test_scope_of_a_ranking() -> None:
    words = {
        "batch": "all 8 images",
        "image": "each image for itself",
        "memory": "each image, with the last 7 in memory",
    }
    for scope, what in words.items():
        rows = [record for record in records("ranking_scope.json") if record["scope"] == scope]
        aps = [f"{row['AP']:.3f}" for row in sorted(rows, key=lambda row: row["seed"])]
        mean, mean50 = (statistics.mean(row[key] for row in rows) for key in ("AP", "AP50"))
        assert f"| {what} | {mean:.3f} | {mean50:.3f} | {', '.join(aps)} |" in page("finetune")


def test_detectors_side_by_side() -> None:
    result: Mapping[str, Any] = json.loads((RESULTS / "detectors_bccd_r18_cpu.json").read_text())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = {
        "brs-co-deformable-detr": "BRS-DETR",
        "co-deformable-detr": "plain Co-DETR",
        "deformable-detr": "Deformable-DETR of mmdet",
    }
    seeds = [{record["seed"] for record in result["records"] if record["detector"] == name} for name in names]
    assert all(of_detector == seeds[0] for of_detector in seeds)
    for detector, name in names.items():
        rows = [record for record in result["records"] if record["detector"] == detector]
        means = [statistics.mean(row["metrics"][key] for row in rows) for key in ("AP", "AP50")]
        classes = [statistics.mean(row["AP50_of_class"][key] for row in rows) for key in ("Platelets", "RBC", "WBC")]
        spread = f"{min(row['metrics']['AP'] for row in rows):.3f} to {max(row['metrics']['AP'] for row in rows):.3f}"
        cells = [name, f"{means[0]:.3f}", spread, *(f"{value:.3f}" for value in (means[1], *classes))]
        assert f"| {' | '.join(cells)} |" in readme
    assert f"{result['epochs']} epochs" in readme
    assert f"{len(seeds[0])} seeds" in readme
