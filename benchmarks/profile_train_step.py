"""Profile a training step, and measure the share of the ranking losses in it.

python benchmarks/profile_train_step.py --device cpu --size 240 320
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from train_step import LOSSES, Setting, TrainStep

from brs_detr.training.registry import register

STEP = "training step"
OPERATORS = ("brs_detr::ranking_terms", "_IdentityUpdate", "_IdentityUpdateBackward")


def main() -> None:
    args = parse_args()
    register()
    h, w = args.size
    setting = Setting(args.config, torch.device(args.device), args.images, (h, w), args.objects, seed=args.seed)
    train_step = TrainStep(setting, args.loss)
    for _ in range(args.warmup):
        train_step()
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (args.device == "cuda")]
    with profile(activities=activities) as profiler:
        for _ in range(args.steps):
            with record_function(STEP):
                train_step()
        if args.device == "cuda":
            torch.cuda.synchronize()
    report = make_report(profiler, args)
    print(report)
    if args.out is not None:
        args.out.write_text(report + "\n")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="brs-co-deformable-detr_r18_1xb4-12e_coco", help="config of a BRS-DETR")
    parser.add_argument("--loss", choices=list(LOSSES), default="bucketed")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--images", type=int, default=2, help="images per batch")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"), help="pixels")
    parser.add_argument("--objects", type=int, default=10, help="objects per image")
    parser.add_argument("--warmup", type=int, default=2, help="unprofiled steps before the others")
    parser.add_argument("--steps", type=int, default=3, help="profiled steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file to write the report to")
    return parser.parse_args()


def make_report(profiler: profile, args: argparse.Namespace) -> str:
    averages = profiler.key_averages()
    clocks = {"CPU": ("cpu_time_total", cpu_time(averages))}
    if args.device == "cuda":
        clocks["GPU"] = ("device_time_total", device_time(averages))
    h, w = args.size
    lines = [
        averages.table(sort_by=f"self_{args.device}_time_total", row_limit=15, max_name_column_width=64),
        f"{args.config}, {args.images} images of {w} x {h}, {args.objects} objects each, PyTorch {torch.__version__}",
    ]
    for clock, (field, step_time) in clocks.items():
        lines.append(f"{clock}: {step_time / args.steps / 1000:.1f} ms per step")
        operators = [event for event in averages if event.key in OPERATORS and event.device_type == DeviceType.CPU]
        times = [getattr(event, field) for event in operators]
        for event, time in zip(operators, times, strict=True):
            calls = event.count / args.steps
            lines.append(f"  {event.key}: {time / args.steps / 1000:.2f} ms, {time / step_time:.2%}, {calls:g} calls")
        lines.append(f"  ranking losses together: {sum(times) / step_time:.2%}")
    return "\n".join(lines)


def cpu_time(averages) -> float:
    """Return the microseconds of the steps from start to end, including Python code between operators."""
    return next(e.cpu_time_total for e in averages if e.key == STEP and e.device_type == DeviceType.CPU)


def device_time(averages) -> float:
    """Return the microseconds of kernels and copies on the device."""
    return sum(
        event.self_device_time_total
        for event in averages
        if event.device_type != DeviceType.CPU and not event.is_user_annotation
    )


if __name__ == "__main__":
    main()
