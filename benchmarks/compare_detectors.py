"""Compare BRS-DETR, plain Co-DETR and mmdet's Deformable-DETR on your dataset, with equal sizes, epochs and seeds.

`python benchmarks/compare_detectors.py DATA --epochs 6` trains the three small models from random weights and evaluates
them on the test split. Each run adds its result to a file in `benchmarks/results`; runs in this file are not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from brs_detr.evaluation.evaluate import evaluate
from brs_detr.training.train import train
from measuring.results import describe_environment

DETECTORS = ("brs-co-deformable-detr", "co-deformable-detr", "deformable-detr")


def measure(detector: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train one detector and evaluate its best checkpoint on the test split."""
    folder = args.runs / f"{detector}-{seed}"
    started = time.perf_counter()
    run = train(
        f"{detector}_{args.size}_1xb4-12e_coco",
        args.data,
        folder,
        seed=seed,
        epochs=args.epochs,
        overrides=[f"train_cfg.val_interval={args.val_interval}"],
    )
    seconds = time.perf_counter() - started
    evaluation = evaluate(run.best_checkpoint, args.data)
    return {
        "detector": detector,
        "seed": seed,
        "train_seconds": seconds,
        "split": evaluation.split.name,
        "metrics": evaluation.metrics,
        "AP50_of_class": {row.name: row.AP50 for row in evaluation.per_class},
        "AP_of_class": {row.name: row.AP for row in evaluation.per_class},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", default="bccd", help="name of the dataset in the result file name")
    parser.add_argument("--size", default="r18")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--val-interval", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=DETECTORS)
    parser.add_argument("--runs", type=Path, default=Path("work_dirs/compare_detectors"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out = args.out or Path(f"benchmarks/results/detectors_{args.name}_{args.size}_{device.type}.json")
    result = json.loads(out.read_text()) if out.exists() else {"records": []}
    done = {(record["detector"], record["seed"]) for record in result["records"]}
    for seed in args.seeds:
        for detector in args.detectors:
            if (detector, seed) in done:
                continue
            result["records"].append(measure(detector, seed, args))
            result |= {"environment": describe_environment(device), "epochs": args.epochs}
            out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for detector in args.detectors:
        values = [record["metrics"] for record in result["records"] if record["detector"] == detector]
        for key in ("AP", "AP50"):
            of_seeds = [value[key] for value in values]
            bounds = f"from {min(of_seeds):.3f} to {max(of_seeds):.3f}"
            print(f"{detector:<24}{key:<6}{statistics.mean(of_seeds):.3f}  {bounds}")


if __name__ == "__main__":
    main()
