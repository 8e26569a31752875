"""Write the measured tables and the figure of the documentation.

``docs/losses-measurements.md`` from a result of `losses.py --device cpu`, ``docs/reproduce.md`` from results of
`training_cost.py` and `train_step.py`, ``docs/detectors.md`` from the rows of the tables, `train_step.py --suite paper`
and `compare_losses.py`, ``docs/export.md`` from those of `export_gate.py`, `export_parity.py` and `inference.py`,
``docs/reliability.md`` from marks of the tests and from `soak.py`, ``docs/install.md`` from `busy_machine.py`,
``docs/serve.md`` from `serve_under_load.py`, ``docs/scores.md`` from `calibration.py`, ``docs/api.md`` from docstrings.

python benchmarks/update_docs.py                 # all of them, from benchmarks/results
python benchmarks/update_docs.py RESULTS.json    # docs/losses-measurements.md alone, from this result
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Mapping
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
PAGE, FIGURE = ROOT / "docs" / "losses-measurements.md", ROOT / "docs" / "images" / "losses.png"
RESULTS = ROOT / "benchmarks" / "results"
REPRODUCE, EXPORT = ROOT / "docs" / "reproduce.md", ROOT / "docs" / "export.md"
RELIABILITY, SOAK = ROOT / "docs" / "reliability.md", RESULTS / "soak_cpu.json"
DETECTORS, INSTALL = ROOT / "docs" / "detectors.md", ROOT / "docs" / "install.md"
SERVE, SCORES = ROOT / "docs" / "serve.md", ROOT / "docs" / "scores.md"
DETECTORS_HEAD = ("table", "detector", "backbone", "loss", "config", "published s", "published AP", "command")
BEGIN, END = "<!-- bench:begin losses_cpu -->", "<!-- bench:end -->"
QUANTITIES = ("time", "memory", "operations")


def cpu_results() -> list[Path]:
    """Results of a CPU, oldest first."""
    results = {path: read_result(path) for path in sorted(RESULTS.glob("losses_*.json"))}
    on_cpu = [path for path, result in results.items() if result.environment["device"] == "cpu"]
    return sorted(on_cpu, key=lambda path: results[path].environment["date"])


def block(result: BenchResult, name: str) -> str:
    """What stands between the markers: `losses.py --read` with `--show` of each quantity."""
    tables = [markdown_table(result, quantity) for quantity in QUANTITIES]
    return "\n\n".join([f"From `{name}`, by `python benchmarks/losses.py --read`:", *tables])


def split_page(text: str) -> tuple[str, str, str]:
    """The page before, between and after the markers, these left out."""
    before, begin, rest = text.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} must contain {BEGIN} and, after it, {END}.")
    return before, between.strip(), after


def records(pattern: str) -> list[dict[str, Any]]:
    """Of the one result whose name fits."""
    (path,) = RESULTS.glob(pattern)
    return json.loads(path.read_text())["records"]


def fill(text: str, tables: Mapping[str, str]) -> str:
    """A page with tables between their marks ``<!-- name -->`` and ``<!-- /name -->``."""
    for name, table in tables.items():
        text = re.sub(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m, t=table: m[1] + t + m[2], text, flags=re.S)
    return text


def reproduce_page(text: str) -> str:
    """``docs/reproduce.md`` with the tables of what is in benchmarks/results."""
    cost, steps = records("training_cost.json"), records("train-step_amd*.json")
    return fill(text, {"cost": cost_markdown(cost), "step": step_markdown(steps)})


def detectors_page(text: str) -> str:
    """``docs/detectors.md``, likewise."""
    files = sorted(RESULTS.glob("losses-of-detectors_*_cpu.json"))
    compared = {path.stem.split("_")[1]: json.loads(path.read_text())["records"] for path in files}
    return fill(
        text,
        {
            "detectors": markdown(DETECTORS_HEAD, [_detector(row) for row in ROWS if row.loss]),
            "suite": suite_markdown(records("train-step-suite_amd*.json")),
            "compared": losses_markdown(compared),
        },
    )


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


def export_page(text: str) -> str:
    """``docs/export.md``, likewise."""
    parity, latency = records("export_parity_cpu.json"), records("inference_*.json")
    gate = gate_markdown(records("export_gate_cpu.json"))
    return fill(text, {"parity": parity_markdown(parity), "latency": latency_markdown(latency), "gate": gate})


def install_page(text: str) -> str:
    """``docs/install.md``, likewise."""
    return fill(text, {"busy": busy_markdown(json.loads((RESULTS / "busy_machine_cpu.json").read_text()))})


def serve_page(text: str) -> str:
    """``docs/serve.md``, likewise."""
    return fill(text, {"serve-load": serve_markdown(json.loads((RESULTS / "serve_under_load_cpu.json").read_text()))})


def scores_page(text: str) -> str:
    """``docs/scores.md``, likewise."""
    result = json.loads((RESULTS / "calibration_cpu.json").read_text())
    return fill(text, {"calibration": calibration_markdown(result)})


def reliability_page(text: str) -> str:
    """``docs/reliability.md`` with the faults that tests prove, and what the soak measured."""
    tables = {"faults": fault_markdown(ROOT)}
    if SOAK.exists():
        tables["soak"] = soak_table(json.loads(SOAK.read_text()))
    return fill(text, tables)


def soak_table(soak: Mapping[str, Any]) -> str:
    """What happened, and how it ended."""
    memory = soak["peaceful_mb"]
    rows = [
        ("lasted", f"{soak['minutes']:.0f} minutes, {soak['epochs']} epochs, {soak['steps']:,} steps"),
        *((f"fault: {name}", f"{count} times") for name, count in soak["faults"].items()),
        ("steps left out", str(soak["skipped_steps"])),
        ("images that could not be read", str(soak["unreadable_images"])),
        (
            "weights, moments, moving mean, best weights, predictions, log",
            f"differ: {', '.join(soak['differing'])}" if soak["differing"] else "equal in both, bit for bit",
        ),
        (
            "memory of the peaceful training",
            f"{memory[len(memory) // 4]:,} MB after a quarter, {memory[-1]:,} MB at the end "
            f"({soak['growth_mb_per_hour']:+.1f} MB an hour)",
        ),
    ]
    return markdown(("", ""), rows)


def main(paths: list[str]) -> None:
    if not paths:
        for page, filled in (
            (REPRODUCE, reproduce_page),
            (DETECTORS, detectors_page),
            (EXPORT, export_page),
            (RELIABILITY, reliability_page),
            (INSTALL, install_page),
            (SERVE, serve_page),
            (SCORES, scores_page),
        ):
            page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
        runpy.run_path(str(ROOT / "benchmarks" / "api_page.py"), run_name="__main__")
    path = Path(paths[0]) if paths else next(reversed(cpu_results()), None)
    if path is None:
        raise SystemExit("No CPU result in benchmarks/results: run `python benchmarks/losses.py --device cpu`.")
    result = read_result(path)
    before, _, after = split_page(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(f"{before}{BEGIN}\n{block(result, path.name)}\n{END}{after}", encoding="utf-8")
    plot_losses(result, FIGURE)
    print(f"{PAGE.relative_to(ROOT)} and {FIGURE.relative_to(ROOT)} now show {path.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
