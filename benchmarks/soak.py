"""Interrupt a training again and again; it must end exactly like an undisturbed one.

    python benchmarks/soak.py --minutes 60 --out benchmarks/results/soak_cpu.json

Both train a small detector on the CPU, on synthetic shapes with two unreadable images, and with an image of NaN every
97 steps. One of them is also killed, stopped, deprived of a data loader and given a damaged last checkpoint, and
restarted each time with `--resume auto`. The undisturbed one shows whether memory grows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.data.synthetic.shapes import make_shapes
from brs_detr.files import write_whole
from brs_detr.run.run_folder import RunFolder
from measuring.results import describe_environment

SIZE = (96, 96)
NUM_IMAGES = 96
NUM_UNREADABLE = 2
SPOIL_EVERY = 97
CONFIG = """\
_base_ = "{base}"
custom_imports = dict(imports=["co_detr", "soak_faults"])
custom_hooks = [dict(type="SpoilSteps", every={every}), dict(type="EMAHook", momentum=0.01, update_buffers=True)]
train_cfg = dict(save_minutes={save_minutes}, max_unreadable=0.05)
"""
NARROW = """\
width = 64
attention = dict(embed_dims=width)
ffn = dict(embed_dims=width, feedforward_channels=64)
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[16, 32, 64], out_channels=width, norm_cfg=dict(num_groups=8)),
    query_head=dict(
        num_queries=40,
        max_auxiliary_queries=40,
        embed_dims=width,
        transformer=dict(
            positional_encoding=dict(num_feats=width // 2),
            encoder=dict(layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
            decoder=dict(
                layer_cfg=dict(self_attn_cfg=dict(embed_dims=width), cross_attn_cfg=attention, ffn_cfg=ffn)
            ),
        ),
    ),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=width), bbox_head=dict(in_channels=width, fc_out_channels=64)),
    atss_head=dict(in_channels=width, feat_channels=width),
)
"""
BASE = "configs/brs_detr/brs-co-deformable-detr_r18_1xb4-4e_shapes.py"
FAULTS = ("kill", "stop", "kill a loader", "kill and damage the checkpoint")


def make_data(folder: Path) -> None:
    """Write shapes, with some files whose header is valid and whose pixels are not."""
    make_shapes(folder, NUM_IMAGES, 16, SIZE, seed=0)
    for path in sorted((folder / "train").iterdir())[:NUM_UNREADABLE]:
        noise = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, "PNG")
        content = bytearray(path.read_bytes())
        start = content.index(b"IDAT") + 200
        content[start : start + 400] = bytes(400)
        path.write_bytes(content)


def command(config: Path, data: Path, run: Path, epochs: int) -> list[str]:
    """Return the command that starts or resumes a run."""
    arguments = ["train", config, "--data", data, "--work-dir", run, "--epochs", epochs, "--seed", 7, "--no-report"]
    return [sys.executable, "-m", "brs_detr.cli", *map(str, arguments), "--resume", "auto"]


def start(arguments: Sequence[str], log: Path) -> subprocess.Popen:
    """Start a training process with one thread."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ":".join(paths)}
    with log.open("a") as file:
        return subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT, env=environment)


def children(number: int) -> list[int]:
    """List the child processes of a process."""
    try:
        return list(map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split()))
    except OSError:
        return []


def resident_mb(number: int) -> float:
    """Return the memory of a process in MB."""
    try:
        return int(Path(f"/proc/{number}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def measure_epoch(config: Path, data: Path, folder: Path) -> float:
    """Measure the seconds of an epoch with its evaluation, while another such training runs."""
    seconds = {}
    for epochs in (1, 7):
        began = time.monotonic()
        pair = [start(command(config, data, folder / f"{epochs}{i}", epochs), folder / "timing.log") for i in "ab"]
        if any(process.wait() for process in pair):
            raise SystemExit((folder / "timing.log").read_text()[-3000:])
        seconds[epochs] = time.monotonic() - began
    return (seconds[7] - seconds[1]) / 6


def disturb(process: subprocess.Popen, fault: str, run: RunFolder) -> bool:
    """Cause one of `FAULTS`, and wait for the process to end; return whether it was possible."""
    loaders = children(process.pid)
    if fault == "kill a loader" and not loaders:
        return False
    if fault == "stop":
        process.send_signal(signal.SIGTERM)
    elif fault == "kill a loader":
        try:
            os.kill(loaders[0], signal.SIGKILL)
        except ProcessLookupError:
            return False
    else:
        process.kill()
    process.wait()
    if fault == "kill and damage the checkpoint" and run.last.exists():
        content = bytearray(run.last.read_bytes())
        content[len(content) // 3] ^= 1
        run.last.write_bytes(content)
    return True


def disturbed(arguments: Sequence[str], run: RunFolder, log: Path, interval: float) -> list[dict[str, Any]]:
    """Train to the end through faults, and return the faults."""
    events: list[dict[str, Any]] = []
    began = time.monotonic()
    while True:
        process = start(arguments, log)
        deadline = time.monotonic() + random.uniform(0.2, 1.8) * interval
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        if process.poll() == 0:
            return events
        if process.poll() is not None:
            raise SystemExit(f"The training failed with exit code {process.returncode}:\n{log.read_text()[-3000:]}")
        fault = random.choice(FAULTS)
        while not disturb(process, fault, run):
            if process.poll() is not None:
                break
            fault = random.choice(FAULTS)
        if process.poll() == 0:
            return events
        events.append({"seconds": round(time.monotonic() - began), "fault": fault, "exit_code": process.poll()})
        print(events[-1], flush=True)


def end_of(run: RunFolder) -> dict[str, Any]:
    """Return everything that must be equal."""
    content, best = load_plain(run.last), load_plain(run.best)
    rows = {("loss" in row, row["step"]): row for row in map(json.loads, run.scalars.read_text().splitlines())}
    logged = [{k: v for k, v in rows[key].items() if "time" not in k and k != "memory"} for key in sorted(rows)]
    return {
        "weights": content["state_dict"],
        "mean": content["ema_state_dict"],
        "moments": content["optimizer"]["state"],
        "best": best["state_dict"],
        "predictions": json.loads(run.predictions.read_text()),
        "records": logged,
        "num_records": len(run.scalars.read_text().splitlines()),
    }


def is_equal(first: Any, second: Any) -> bool:
    """Compare bit for bit; NaN equals NaN."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(is_equal(value, second[key]) for key, value in first.items())
    if isinstance(first, list):
        return len(first) == len(second) and all(map(is_equal, first, second))
    return bool(first == second) or (first != first and second != second)


def growth(samples: list[tuple[float, float]]) -> float:
    """Fit the growth in MB per hour to the samples after the first quarter."""
    times, memory = np.array(samples[len(samples) // 4 :]).T
    return float(np.polyfit(times / 3600, memory, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="time for the undisturbed training")
    parser.add_argument("--epochs", type=int, help="epochs, instead of --minutes and the measurement that they need")
    parser.add_argument("--interval", type=float, default=90.0, help="average seconds between two faults")
    parser.add_argument("--save-minutes", type=float, default=0.25, help="minutes between two checkpoints in an epoch")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the faults")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    base = (Path(__file__).parent.parent / BASE).resolve()
    config = folder / "soak.py"
    config.write_text(CONFIG.format(base=base, every=SPOIL_EVERY, save_minutes=arguments.save_minutes) + NARROW)
    make_data(folder / "data")
    epochs = arguments.epochs
    if epochs is None:
        seconds = measure_epoch(config, folder / "data", folder)
        epochs = max(2, round(60 * arguments.minutes / seconds))
        print(f"{seconds:.1f} s per epoch, {epochs} epochs", flush=True)

    began = time.monotonic()
    peaceful, troubled = RunFolder(folder / "peaceful"), RunFolder(folder / "troubled")
    process = start(command(config, folder / "data", peaceful.path, epochs), folder / "peaceful.log")
    samples: list[tuple[float, float]] = []

    def watch() -> None:
        while process.poll() is None:
            time.sleep(5)
            samples.append((time.monotonic() - began, resident_mb(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    events = disturbed(
        command(config, folder / "data", troubled.path, epochs), troubled, folder / "troubled.log", arguments.interval
    )
    watcher.join()
    if process.returncode:
        raise SystemExit((folder / "peaceful.log").read_text()[-3000:])
    samples = [sample for sample in samples if sample[1]]
    record = json.loads(peaceful.record.read_text())
    first, second = end_of(peaceful), end_of(troubled)
    differing = [name for name in first if not is_equal(first[name], second[name])]
    result = {
        "environment": describe_environment(torch.device("cpu")),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "epochs": epochs,
        "steps": epochs * -(-NUM_IMAGES // 4),
        "faults": {fault: sum(event["fault"] == fault for event in events) for fault in FAULTS},
        "skipped_steps": record["skipped_steps"],
        "unreadable_images": record["unreadable_images"],
        "is_equal": not differing,
        "differing": differing,
        "peaceful_mb": [round(memory) for _, memory in samples[:: max(1, len(samples) // 40)]],
        "growth_mb_per_hour": round(growth(samples), 2),
        "events": events,
    }
    write_whole(arguments.out, json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "events"}, indent=1))
    if differing:
        raise SystemExit(f"The trainings differ; they are in {folder}.")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
