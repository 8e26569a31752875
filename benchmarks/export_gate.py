"""How often the gate of `brs-detr export` rejects a correct file.

    python benchmarks/export_gate.py --out benchmarks/results/export_gate_cpu.json

Small models with random nonzero weights are exported in four ways and compared on images of three sizes. The files of
the first seeds are compared again with fewer CPU instructions and with two threads, as on other processors. All files
are correct (`pytest tests/exporting` has wrong ones), so every rejection is an error of the gate.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import runpy
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CLASSES = tuple("abcdef")
CASES = (
    dict(format="onnx", head="query", preprocess=True, fixed_size=(160, 208), batch_size=2),
    dict(format="onnx", head="roi", fixed_size=(160, 208), batch_size=1),
    dict(format="torchscript", head="atss", postprocess=False),
    dict(format="torch-export", head="query", fixed_size=(160, 208), batch_size=2),
)
SIZES = ((120, 160), (90, 60), (47, 131))


def checkpoint_of(seed: int, folder: Path) -> Path:
    """Write a checkpoint of the tests' small model with random weights."""
    from brs_detr.config.config import configs_dir
    from brs_detr.training.registry import register

    register()
    sys.path.insert(0, str(ROOT / "tests"))
    from tiny_models import build, enliven, write_checkpoint
    from tiny_runs import TINY_CONFIG

    base = configs_dir() / "brs_detr" / "brs-co-deformable-detr_r18_1xb4-12e_coco.py"
    config = folder / "tiny.py"
    config.write_text(TINY_CONFIG.format(base=base.as_posix()))
    model = enliven(build(config, len(CLASSES), seed), seed)
    return write_checkpoint(model, config, CLASSES, folder / f"seed{seed}.pth")


def judge(seed: int, files: Path) -> list[dict[str, Any]]:
    """Export the files of a seed that do not exist yet, and compare them with their models."""
    import torch
    from rich.console import Console

    from brs_detr.checkpoints.checkpoint import read_checkpoint
    from brs_detr.errors import UserError
    from brs_detr.exporting.comparison_images import synthetic_images
    from brs_detr.exporting.export import Subject, staged_session, write
    from brs_detr.exporting.formats import ExportOptions, artefact_name
    from brs_detr.exporting.parity import require_parity

    logging.disable(logging.INFO)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    folder = files / str(seed)
    folder.mkdir(exist_ok=True)
    path = folder / f"seed{seed}.pth"
    checkpoint = read_checkpoint(path if path.is_file() else checkpoint_of(seed, folder))
    rows = []
    for number, case in enumerate(CASES):
        options = ExportOptions(**case)  # type: ignore[arg-type]
        subject, started = Subject.of(checkpoint, options), time.perf_counter()
        file = folder / f"{number}_{artefact_name(options)}"
        if not file.is_file():
            write(subject, file)
        row: dict[str, Any] = {"seed": seed, "format": options.format, "head": options.head, "refused": None}
        session, images = staged_session(file, subject.info), synthetic_images(SIZES, seed)
        try:
            parity = require_parity(subject.model, subject.exact, session, images, console=Console(quiet=True))
            row |= parity.summary()
        except UserError as error:
            row["refused"] = error.message
        rows.append({**row, "seconds": time.perf_counter() - started})
    return rows


def judge_apart(seed: int, files: Path, settings: dict[str, str]) -> list[dict[str, Any]]:
    """Run `judge` in a separate process, with environment variables that libraries read when they are loaded."""
    command = [sys.executable, __file__, "--out", os.devnull, "--one", str(seed), "--files", str(files)]
    done = subprocess.run(command, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True, check=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return [{**row, "settings": settings} for row in rows]


def processor_settings() -> list[dict[str, str]]:
    """Return the settings of `make test-isa` that this processor supports, with one and two threads."""
    isa = runpy.run_path(str(ROOT / "tools" / "test_isa.py"))
    flags = isa["processor_flags"]()
    return [
        {"ATEN_CPU_CAPABILITY": aten, "ONEDNN_MAX_CPU_ISA": onednn, "OMP_NUM_THREADS": threads}
        for aten, onednn, flag in isa["SETTINGS"]
        if flag in flags
        for threads in ("1", "2")
    ]


def gate_markdown(records: list[dict[str, Any]]) -> str:
    """Make a table with one row per setting: files, rejections, and the largest share of a bound that one used."""
    lines = ["| processor | files | images | refused | nearest to its bound |", "| :-- | --: | --: | --: | --: |"]
    names = list(dict.fromkeys(_name(record["settings"]) for record in records))
    for name in names:
        rows = [record for record in records if _name(record["settings"]) == name]
        refused = sum(row["refused"] is not None for row in rows)
        nearest = max(row.get("largest_share_of_bound", 0.0) for row in rows)
        lines.append(f"| {name} | {len(rows)} | {len(rows) * len(SIZES)} | {refused} | {nearest:.0%} |")
    return "\n".join(lines) + "\n"


def _name(settings: dict[str, str]) -> str:
    if "ATEN_CPU_CAPABILITY" not in settings:
        return "unrestricted"
    threads = "one thread" if settings["OMP_NUM_THREADS"] == "1" else f"{settings['OMP_NUM_THREADS']} threads"
    return f"{settings['ATEN_CPU_CAPABILITY']}, oneDNN {settings['ONEDNN_MAX_CPU_ISA']}, {threads}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20, help="number of weight seeds on the unrestricted processor")
    parser.add_argument("--seeds-each", type=int, default=3, help="number of weight seeds under each other setting")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(judge(arguments.one, arguments.files)))
        return
    import torch

    from brs_detr.files import write_whole
    from measuring.results import describe_environment

    as_it_is = {"OMP_NUM_THREADS": "1"}
    tasks = [(seed, as_it_is) for seed in range(arguments.seeds)]
    tasks += [(seed, settings) for settings in processor_settings() for seed in range(arguments.seeds_each)]
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for part in (tasks[: arguments.seeds], tasks[arguments.seeds :]):  # the second uses the files of the first
            with ThreadPoolExecutor(os.cpu_count()) as workers:
                for rows in workers.map(lambda task: judge_apart(task[0], Path(name), task[1]), part):
                    records += rows
                    result = {"environment": describe_environment(torch.device("cpu")), "records": records}
                    write_whole(arguments.out, json.dumps(result, indent=1) + "\n")
                    refused = [row["refused"] for row in rows]
                    print(f"seed {rows[0]['seed']}, {_name(rows[0]['settings'])}: {refused}", flush=True)
    print(gate_markdown(records))


if __name__ == "__main__":
    main()
