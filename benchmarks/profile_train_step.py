"""Where the time of a training step goes, and which share of it the ranking losses take.

python benchmarks/profile_train_step.py --device cpu --size 240 320
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from brs_detr.cli.doctor import random_model
from brs_detr.platform import prepare

STEP = "training step"
OPERATORS = ("brs_detr::ranking_terms", "_IdentityUpdate", "_IdentityUpdateBackward")


def main() -> None:
    args = parse_args()
    prepare()
    torch.manual_seed(args.seed)
    model = random_model(args.config).to(args.device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    batch = make_batch(args.images, tuple(args.size), args.objects, model.query_head.num_classes)
    for _ in range(args.warmup):
        train_step(model, optimizer, batch)
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (args.device == "cuda")]
    with profile(activities=activities) as profiler:
        for _ in range(args.steps):
            with record_function(STEP):
                train_step(model, optimizer, batch)
        if args.device == "cuda":
            torch.cuda.synchronize()
    report = make_report(profiler, args)
    print(report)
    if args.out is not None:
        args.out.write_text(report + "\n")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="brs-co-deformable-detr_r18_1xb4-12e_coco", help="name or path")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--images", type=int, default=2, help="images a batch")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"), help="pixels")
    parser.add_argument("--objects", type=int, default=10, help="objects an image")
    parser.add_argument("--warmup", type=int, default=2, help="steps before those that are profiled")
    parser.add_argument("--steps", type=int, default=3, help="steps that are profiled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file that also gets the report")
    return parser.parse_args()


def make_batch(num_images: int, size: tuple[int, int], num_objects: int, num_classes: int) -> dict:
    """Noise with random boxes, as a data loader would deliver it."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    h, w = size
    samples = []
    for index in range(num_images):
        meta = {"img_id": index, "img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)}
        corners = torch.rand(2, num_objects, 2) * torch.tensor([w - 8, h - 8])
        boxes_xyxy = torch.cat([corners.amin(0), corners.amax(0) + 8], 1)
        gt = InstanceData(bboxes=boxes_xyxy, labels=torch.randint(0, num_classes, (num_objects,)))
        samples.append(DetDataSample(metainfo=meta, gt_instances=gt))
    images = [torch.randint(0, 256, (3, h, w), dtype=torch.uint8) for _ in range(num_images)]
    return {"inputs": images, "data_samples": samples}


def train_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: dict) -> None:
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


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
        lines.append(f"{clock}: {step_time / args.steps / 1000:.1f} ms a step")
        operators = [event for event in averages if event.key in OPERATORS and event.device_type == DeviceType.CPU]
        times = [getattr(event, field) for event in operators]
        for event, time in zip(operators, times, strict=True):
            calls = event.count / args.steps
            lines.append(f"  {event.key}: {time / args.steps / 1000:.2f} ms, {time / step_time:.2%}, {calls:g} calls")
        lines.append(f"  ranking losses together: {sum(times) / step_time:.2%}")
    return "\n".join(lines)


def cpu_time(averages) -> float:
    """Microseconds from beginning to end of the steps, what Python does between operators included."""
    return next(e.cpu_time_total for e in averages if e.key == STEP and e.device_type == DeviceType.CPU)


def device_time(averages) -> float:
    """Microseconds that kernels and copies took on the device."""
    return sum(
        event.self_device_time_total
        for event in averages
        if event.device_type != DeviceType.CPU and not event.is_user_annotation
    )


if __name__ == "__main__":
    main()
