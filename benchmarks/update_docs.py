"""Write the tables and the figure of the documentation from `benchmarks/results`, docstrings and test marks.

python benchmarks/update_docs.py                 # all of them
python benchmarks/update_docs.py RESULTS.json    # only docs/losses-measurements.md, from this result of losses.py
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from busy_machine import busy_markdown
from calibration import calibration_markdown
from compare_losses import losses_markdown
from export_gate import gate_markdown
from export_parity import parity_markdown
from fault_table import fault_markdown
from inference import latency_markdown
from serve_under_load import serve_markdown
from train_step import step_markdown, suite_markdown
from training_cost import cost_markdown

from brs_detr.reproduce.tables import ROWS, Row
from measuring.loss_results import BenchResult, markdown_table, plot_losses, read_result
from measuring.results import markdown

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
DETECTORS_HEAD = ("table", "detector", "backbone", "loss", "config", "published s", "published AP", "command")
QUANTITIES = ("time", "memory", "operations")


def cpu_results() -> list[Path]:
    """List the results of `losses.py` on a CPU, oldest first."""
    results = {path: read_result(path) for path in sorted(RESULTS.glob("losses_*.json"))}
    on_cpu = [path for path, result in results.items() if result.environment["device"] == "cpu"]
    return sorted(on_cpu, key=lambda path: results[path].environment["date"])


def block(result: BenchResult, name: str) -> str:
    """Make the text between the markers: the output of `losses.py --read` with `--show` of each quantity."""
    tables = [markdown_table(result, quantity) for quantity in QUANTITIES]
    return "\n\n".join([f"From `{name}`, by `python benchmarks/losses.py --read`:", *tables]) + "\n"


def result(pattern: str) -> dict[str, Any]:
    """Read the one result whose name matches."""
    (path,) = RESULTS.glob(pattern)
    return json.loads(path.read_text())


def records(pattern: str) -> list[dict[str, Any]]:
    """Read the records of the one result whose name matches."""
    return result(pattern)["records"]


def compared_losses() -> dict[str, list[dict[str, Any]]]:
    """Read the records of `compare_losses.py` by name of the dataset."""
    files = sorted(RESULTS.glob("losses-of-detectors_*_cpu.json"))
    return {path.stem.split("_")[1]: json.loads(path.read_text())["records"] for path in files}


def _detector(row: Row) -> list[str]:
    (table,) = row.tables
    kind = " (masks)" if row.metric == "mask_AP" else ""
    return [
        table.removeprefix("table"),
        row.detector,
        row.backbone,
        row.loss,
        f"[{row.config}](../configs/ranking_losses/{row.config}.py)",
        "-" if row.paper_s is None else f"{row.paper_s:.2f}",
        "-" if row.paper_ap is None else f"{100 * row.paper_ap:.1f}{kind}",
        f"`brs-detr reproduce {table} --row {row.name}`",
    ]


def soak_table(soak: Mapping[str, Any]) -> str:
    """Make the table of a result of `soak.py`."""
    memory = soak["peaceful_mb"]
    rows = [
        ("duration", f"{soak['minutes']:.0f} minutes, {soak['epochs']} epochs, {soak['steps']:,} steps"),
        *((f"fault: {name}", f"{count} times") for name, count in soak["faults"].items()),
        ("skipped steps", str(soak["skipped_steps"])),
        ("unreadable images", str(soak["unreadable_images"])),
        (
            "weights, moments, moving average, best weights, predictions, log",
            f"differ: {', '.join(soak['differing'])}" if soak["differing"] else "equal in both, bit for bit",
        ),
        (
            "memory of the undisturbed training",
            f"{memory[len(memory) // 4]:,} MB after a quarter, {memory[-1]:,} MB at the end "
            f"({soak['growth_mb_per_hour']:+.1f} MB per hour)",
        ),
    ]
    return markdown(("", ""), rows)


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "reproduce": {
        "cost": lambda: cost_markdown(records("training_cost.json")),
        "step": lambda: step_markdown(records("train-step_amd*.json")),
    },
    "detectors": {
        "detectors": lambda: markdown(DETECTORS_HEAD, [_detector(row) for row in ROWS if row.loss]),
        "suite": lambda: suite_markdown(records("train-step-suite_amd*.json")),
        "compared": lambda: losses_markdown(compared_losses()),
    },
    "export": {
        "parity": lambda: parity_markdown(records("export_parity_cpu.json")),
        "latency": lambda: latency_markdown(records("inference_*.json")),
        "gate": lambda: gate_markdown(records("export_gate_cpu.json")),
    },
    "reliability": {"faults": lambda: fault_markdown(ROOT), "soak": lambda: soak_table(result("soak_cpu.json"))},
    "install": {"busy": lambda: busy_markdown(result("busy_machine_cpu.json"))},
    "serve": {"serve-load": lambda: serve_markdown(result("serve_under_load_cpu.json"))},
    "scores": {"calibration": lambda: calibration_markdown(result("calibration_cpu.json"))},
}
"""The tables of each page in docs/, between the marks ``<!-- name -->`` and ``<!-- /name -->``."""


def tables_of(page: str) -> dict[str, str]:
    """Make the tables of a page by name."""
    return {name: table() for name, table in TABLES[page].items()}


def fill(text: str, tables: Mapping[str, str]) -> str:
    """Return the text of a page with its tables."""
    for name, table in tables.items():
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not begin or not end:
            raise SystemExit(f"A page must contain <!-- {name} --> and, after it, <!-- /{name} -->.")
        text = before + begin + table + end + after
    return text


def update(page: str, tables: Mapping[str, str]) -> None:
    """Write the tables of a page."""
    path = DOCS / f"{page}.md"
    path.write_text(fill(path.read_text(encoding="utf-8"), tables), encoding="utf-8")


def main(paths: list[str]) -> None:
    if not paths:
        for page in TABLES:
            update(page, tables_of(page))
        runpy.run_path(str(ROOT / "benchmarks" / "api_page.py"), run_name="__main__")
    source = Path(paths[0]) if paths else next(reversed(cpu_results()), None)
    if source is None:
        raise SystemExit("No CPU result in benchmarks/results: run `python benchmarks/losses.py --device cpu`.")
    measured = read_result(source)
    update("losses-measurements", {"losses": block(measured, source.name)})
    plot_losses(measured, DOCS / "images" / "losses.png")
    print(f"docs/losses-measurements.md and docs/images/losses.png now show {source.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
