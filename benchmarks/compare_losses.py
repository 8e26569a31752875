"""Compare ranking losses with the score-based loss of the same detector on your dataset, with equal sizes and epochs.

`python benchmarks/compare_losses.py DATA --epochs 6` trains small ATSS and Faster R-CNN (ResNet-18 from random weights,
width 128, images of at most 320 pixels) with the score-based loss, BRS Loss and exact RS Loss, and evaluates the last
weights on the test split, or on the held-out images if there is none. Each run adds its result to a file in
`benchmarks/results`; runs in this file are not repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from brs_detr.config.config import find_config
from brs_detr.evaluation.evaluate import evaluate
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import train
from measuring.results import describe_environment, markdown

LOSSES = {"score-based": "", "brs": "brs-", "exact": "rs-"}
DENSE = "bbox_head=dict(in_channels=128, feat_channels=128, stacked_convs=2)"
HEADS = {
    "atss": DENSE,
    "paa": DENSE,
    "retinanet": DENSE,
    "faster-rcnn": (
        "rpn_head=dict(in_channels=128, feat_channels=128), "
        "roi_head=dict(bbox_roi_extractor=dict(out_channels=128), "
        "bbox_head=dict(in_channels=128, fc_out_channels=256)), "
        "train_cfg=dict(rpn_proposal=dict(max_per_img=300)), test_cfg=dict(rpn=dict(max_per_img=300))"
    ),
}
SMALL = """\
'''{name}, small and from random weights.'''
_base_ = {base!r}
model = dict(
    backbone=dict(depth=18, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=128),
    {heads},
)
load = dict(type="LoadImage")
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        pipeline=[
            load,
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="RandomChoiceResize", scales=[(320, side) for side in (208, 240)], keep_ratio=True),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ]
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            load,
            dict(type="Resize", scale=(320, 240), keep_ratio=True),
            dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        ]
    )
)
test_dataloader = val_dataloader
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=5e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.02, begin=0, end=12, by_epoch=True, convert_to_iter_based=True),
]
"""


def measure(detector: str, loss: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train one detector with one loss and evaluate its last checkpoint."""
    name = f"{LOSSES[loss]}{detector}_r50_fpn_4xb4-12e_coco"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, f"{LOSSES[loss]}{detector}_r18.py")
        config.write_text(SMALL.format(name=name, base=find_config(name).as_posix(), heads=HEADS[detector]))
        run = RunFolder(args.runs / f"{detector}-{loss}-{seed}")
        options = {"seed": seed, "epochs": args.epochs, "overrides": [f"train_cfg.val_interval={args.epochs}"]}
        train(config, args.data, run.path, resume=run.can_resume, **options)
    evaluation = evaluate(run.best)
    return {
        "detector": detector,
        "loss": loss,
        "seed": seed,
        "split": evaluation.split.name,
        "metrics": evaluation.metrics,
        "AP_of_class": {row.name: row.AP for row in evaluation.per_class},
        "AP50_of_class": {row.name: row.AP50 for row in evaluation.per_class},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--name", default="bccd", help="name of the dataset in the result file name")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--detectors", nargs="+", choices=HEADS, default=["atss", "faster-rcnn"])
    parser.add_argument("--runs", type=Path, default=Path("work_dirs/compare_losses"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out = args.out or Path(f"benchmarks/results/losses-of-detectors_{args.name}_{device.type}.json")
    result = json.loads(out.read_text()) if out.exists() else {"records": []}
    done = {(record["detector"], record["loss"], record["seed"]) for record in result["records"]}
    for seed, detector, loss in itertools.product(args.seeds, args.detectors, LOSSES):
        if (detector, loss, seed) in done:
            continue
        result["records"].append(measure(detector, loss, seed, args))
        result |= {"environment": describe_environment(device), "epochs": args.epochs}
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(losses_markdown({args.name: result["records"]}))


def losses_markdown(compared: Mapping[str, list[dict[str, Any]]]) -> str:
    """Make the table of docs/detectors.md from the records of each dataset: mean, lowest and highest over seeds."""
    rows = []
    for data, records in compared.items():
        for detector, loss in itertools.product(HEADS, LOSSES):
            seeds = [record for record in records if (record["detector"], record["loss"]) == (detector, loss)]
            if not seeds:
                continue
            classes = {name: [record["AP_of_class"][name] for record in seeds] for name in seeds[0]["AP_of_class"]}
            of_classes = ", ".join(f"{name} {statistics.mean(values):.3f}" for name, values in classes.items())
            aps, ap50s = ([record["metrics"][name] for record in seeds] for name in ("AP", "AP50"))
            rows.append((data, detector, loss, str(len(seeds)), _mean(aps), _mean(ap50s), of_classes))
    return markdown(("data", "detector", "loss", "seeds", "AP", "AP50", "AP of classes"), rows)


def _mean(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
