"""Tables of measured numbers in README and docs are those of `benchmarks/results`."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_scope_of_a_ranking() -> None:
    records = json.loads((RESULTS / "ranking_scope.json").read_text())["records"]
    page = (ROOT / "docs" / "finetune.md").read_text(encoding="utf-8")
    words = {
        "batch": "all 8 images",
        "image": "each image for itself",
        "memory": "each image, with the last 7 in memory",
    }
    for scope, what in words.items():
        rows = [record for record in records if record["scope"] == scope]
        aps = [f"{row['AP']:.3f}" for row in sorted(rows, key=lambda row: row["seed"])]
        mean, mean50 = (statistics.mean(row[key] for row in rows) for key in ("AP", "AP50"))
        assert f"| {what} | {mean:.3f} | {mean50:.3f} | {', '.join(aps)} |" in page


def test_detectors_side_by_side() -> None:
    result = json.loads((RESULTS / "detectors_bccd_r18_cpu.json").read_text())
    page = (ROOT / "README.md").read_text(encoding="utf-8")
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
        assert f"| {' | '.join(cells)} |" in page
    assert f"{result['epochs']} epochs" in page
    assert f"{len(seeds[0])} seeds" in page
