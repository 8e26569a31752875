"""Estimate the parameters, operations, memory and hours of a training from shapes, without a GPU or data.

The default is the six models of Table 5. Hours are the paper's 0.69 s per iteration for BRS-DETR with ResNet-50 on
8 A100, scaled by the operations of a step.

python benchmarks/training_cost.py --out benchmarks/results/training_cost.json
python benchmarks/training_cost.py brs-co-deformable-detr_r50_8xb2-12e_coco --size 400x640
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brs_detr.config.config import load_config
from brs_detr.files import write_whole
from brs_detr.reproduce.plan import REFERENCE, predicted_hours, training_cost
from brs_detr.reproduce.tables import trained_configs
from brs_detr.run.console import make_console, track
from measuring import results

HEAD = ("model", "parameters", "training step", "kept for backward", "weights and Adam", "12 epochs on 8 A100")


def cost_markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """Make the table of docs/reproduce.md."""
    return results.markdown(HEAD, [_row(record) for record in records])


def _row(record: Mapping[str, Any]) -> list[str]:
    return [
        record["config"],
        f"{record['num_parameters'] / 1e6:.1f} M",
        f"{record['step_flops'] / 1e12:.2f} TFLOP",
        f"{record['activation_bytes'] / 2**30:.1f} GiB",
        f"{record['state_bytes'] / 2**30:.1f} GiB",
        f"{record['hours_on_8_a100']:.0f} h",
    ]


def main(args: argparse.Namespace) -> None:
    console = make_console()
    reference = training_cost(load_config(REFERENCE))
    records = []
    for name in track(args.configs or trained_configs(), "models", console):
        of_step = training_cost(load_config(name), args.images, args.size)
        records.append(
            {
                "config": name,
                "num_images": args.images,
                "height": args.size[0],
                "width": args.size[1],
                **dataclasses.asdict(of_step),
                "state_bytes": of_step.state_bytes,
                "hours_on_8_a100": predicted_hours(training_cost(load_config(name)), reference),
            }
        )
    console.print(results.console_table(HEAD, [_row(record) for record in records], 1))
    if args.out is not None:
        write_whole(args.out, json.dumps({"records": records}, indent=1) + "\n")
        console.print(f"Written to {args.out}")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", help="names of configs of a CoDETR")
    parser.add_argument("--size", type=results.frame_size, default=(800, 1333), help="HEIGHTxWIDTH of images")
    parser.add_argument("--images", type=results.positive, default=2, help="images per GPU")
    parser.add_argument("--out", type=Path, help="result file")
    return parser


if __name__ == "__main__":
    results.run(make_parser(), main, sys.argv[1:])
