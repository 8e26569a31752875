"""Differences between exported models and their originals.

    python benchmarks/export_parity.py --out benchmarks/results/export_parity_cpu.json \\
        --random brs-co-deformable-detr_r50_8xb2-12e_coco --trained demo=demo/run --trained bccd=work_dirs/bccd

Every model is exported in every format and for every head, and compared on images of several sizes, alone and in
batches of four. The models of --random have their full size.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.errors import UserError
from brs_detr.exporting.comparison_images import DataSet, synthetic_images
from brs_detr.exporting.export import export_checkpoint
from brs_detr.exporting.formats import ExportOptions, artefact_name
from brs_detr.files import write_whole
from brs_detr.run.console import make_console
from measuring.results import describe_environment, random_checkpoint

HEADS = ("query", "roi", "atss")
SHORT_NAMES = {
    "brs-co-deformable-detr_r50_8xb2-12e_coco": "R-50",
    "brs-co-deformable-detr_swin-t_8xb2-12e_coco": "Swin-T",
}


def measure(
    model: str, checkpoint: Path, options: ExportOptions, data: Path | None, folder: Path, sizes: list[tuple[int, int]]
) -> dict[str, Any]:
    """Export one artefact, and return its differences."""
    content, started = read_checkpoint(checkpoint), time.perf_counter()
    data_set = DataSet.open(data, None, content.class_names, make_console()) if data else None
    common = {"model": model, "format": options.format, "head": options.head, "precision": options.precision}
    out = folder / artefact_name(options)
    try:
        measure_ap = data_set.measure_ap if data_set else None
        exported = export_checkpoint(content, out, options, synthetic_images(sizes), measure_ap=measure_ap)
    except UserError as error:
        return {**common, "refused": error.message}
    size = out.stat().st_size
    out.unlink()
    figures = exported.parity.summary()
    print(
        f"{model} {options.format} {options.head} {options.precision}: {time.perf_counter() - started:.0f} s, "
        f"{size / 2**20:.0f} MiB, {figures}",
        flush=True,
    )
    return {**common, **figures}


def parity_markdown(records: list[dict[str, Any]]) -> str:
    """Make a table with one row per model and head: the largest differences in each format, and AP."""
    formats = list(dict.fromkeys(record["format"] for record in records))
    lines = [["model", "head", *formats, "AP model", "AP file"]]
    lines.append([":--", ":--", *["--:"] * (len(formats) + 2)])
    models = list(dict.fromkeys(record["model"] for record in records))
    rows = {(record["model"], record["head"]) for record in records}
    for model, head in sorted(rows, key=lambda row: (models.index(row[0]), HEADS.index(row[1]))):
        of_head = [record for record in records if (record["model"], record["head"]) == (model, head)]
        cells = [_differences([record for record in of_head if record["format"] == name]) for name in formats]
        aps = [record for record in of_head if "AP_model" in record]
        worst = max(aps, key=lambda record: abs(record["AP_model"] - record["AP_artefact"]), default=None)
        shown = ["", ""] if worst is None else [f"{worst[key]:.5f}" for key in ("AP_model", "AP_artefact")]
        lines.append([SHORT_NAMES.get(model, model), head, *cells, *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _differences(records: list[dict[str, Any]]) -> str:
    if not records:
        return "-"
    (record,) = records
    if "refused" in record:
        return "refused"
    notes = [f"{record['unmatched']} of {record['detections']} unmatched"] * bool(record["unmatched"])
    if "largest_share_of_bound" in record:
        notes.append(f"{record['largest_share_of_bound']:.0%} of the bound")
    differences = f"{record['max_box_error_px']:.0e} px, {record['max_score_error']:.0e}"
    return differences + (f" ({', '.join(notes)})" if notes else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--random", action="append", default=[], metavar="CONFIG", help="full size, random weights")
    parser.add_argument("--trained", action="append", default=[], metavar="NAME=CHECKPOINT[=DATA]")
    parser.add_argument("--formats", nargs="+", default=["onnx", "torch-export", "torchscript"])
    parser.add_argument("--heads", nargs="+", default=list(HEADS))
    parser.add_argument("--sizes", nargs="+", default=["480x640", "800x1333", "333x517", "601x299"], metavar="HxW")
    parser.add_argument("--precisions", nargs="+", default=["float32"])
    parser.add_argument("--table", action="store_true", help="measure nothing, print the content of --out as Markdown")
    arguments = parser.parse_args()
    if arguments.table:
        print(parity_markdown(json.loads(arguments.out.read_text())["records"]))
        return
    sizes = [(int(h), int(w)) for h, w in (text.split("x") for text in arguments.sizes)]
    records = json.loads(arguments.out.read_text())["records"] if arguments.out.exists() else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = [(config, random_checkpoint(config, folder), None) for config in arguments.random]
        for text in arguments.trained:
            label, checkpoint, *data = text.split("=")
            models.append((label, Path(checkpoint), Path(data[0]) if data else None))
        logging.disable(logging.INFO)
        for label, checkpoint, data in models:
            for format_name in arguments.formats:
                for head in arguments.heads:
                    for precision in arguments.precisions:
                        options = ExportOptions(format_name, head, precision=precision)
                        records.append(measure(label, checkpoint, options, data, folder, sizes))
                        result = {"environment": describe_environment(torch.device("cpu")), "records": records}
                        write_whole(arguments.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
