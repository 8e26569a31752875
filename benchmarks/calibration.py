"""Effect of calibration on the scores of trained runs, on held-out images.

`python benchmarks/calibration.py bccd=work_dirs/bccd_0 bccd=work_dirs/bccd_1 ...` evaluates runs of
`brs-detr finetune DATA --seed N` on their test split twice, with raw and with calibrated scores. The results are added
to `benchmarks/results/calibration_cpu.json`, which `update_docs.py` shows in docs/scores.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from brs_detr.analysis.score_measures import measure_scores
from brs_detr.checkpoints.checkpoint import read_checkpoint
from brs_detr.evaluation.calibrate import in_order_of, scored_detections
from brs_detr.evaluation.evaluate import evaluate
from brs_detr.run.run_folder import RunFolder
from brs_detr.run.run_record import read_record
from measuring.results import describe_environment, markdown

OUT = Path(__file__).parent / "results" / "calibration_cpu.json"
SHOWN = ("LaECE_0", "LaECE_0_shown", "D_ECE", "D_ECE_shown")
KEPT = (*SHOWN, "LaACE_0", "F1", "best_F1")


def measure(data: str, run: Path, split: str) -> dict[str, Any]:
    """Measure one run with raw and calibrated scores."""
    checkpoint = read_checkpoint(run)
    calibration = checkpoint.calibration()
    if calibration is None:
        raise SystemExit(f"{run} is not calibrated: brs-detr calibrate {run}")
    raw = evaluate(checkpoint, None, split)
    mapped = evaluate(checkpoint, None, split, raw_scores=False)
    thresholds = in_order_of(calibration, checkpoint.class_names, [row.name for row in raw.per_class]).thresholds
    sides = {
        "raw": (raw, measure_scores(scored_detections(raw), checkpoint.thresholds(raw_scores=True))),
        "calibrated": (mapped, measure_scores(scored_detections(mapped), thresholds)),
    }
    return {
        "data": data,
        "model": checkpoint.config.model.type,
        "seed": read_record(RunFolder(run))["seed"],
        "split": split,
        "images": raw.num_images,
        "kind": calibration.kind,
        **{
            name: {"AP": evaluation.metrics["AP"], **{key: found.overall[key] for key in KEPT}}
            for name, (evaluation, found) in sides.items()
        },
    }


def calibration_markdown(result: Mapping[str, Any]) -> str:
    """Make the table of docs/scores.md."""
    measures = ("AP", "LaECE_0", "LaECE_0, those shown", "D-ECE", "D-ECE, those shown", "F1 from 0.5", "best F1")
    head = ("data", "model", "seed", "images", "map", *measures)
    rows = []
    for one in sorted(result["records"], key=lambda record: (record["data"], record["model"], record["seed"])):
        before, after = one["raw"], one["calibrated"]
        both = [f"{before[key]:.3f} to {after[key]:.3f}" for key in SHOWN]
        aps = f"{before['AP']:.4f} to {after['AP']:.4f}"
        rows.append(
            (one["data"], one["model"], str(one["seed"]), str(one["images"]), one["kind"], aps, *both)
            + (f"{after['F1']:.3f}", f"{after['best_F1']:.3f}")
        )
    return markdown(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="DATA=RUN")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    known = json.loads(args.out.read_text())["records"] if args.out.exists() else []
    records = {(one["data"], one["model"], one["seed"]): one for one in known}
    for name, run in (run.partition("=")[::2] for run in args.runs):
        one = measure(name, Path(run), args.split)
        records[one["data"], one["model"], one["seed"]] = one
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = {"environment": describe_environment(device), "records": list(records.values())}
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(calibration_markdown(result))


if __name__ == "__main__":
    main()
