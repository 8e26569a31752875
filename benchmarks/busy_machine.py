"""Time of a training step on a busy machine, by how long idle OpenMP threads spin before they sleep.

    python benchmarks/busy_machine.py --out benchmarks/results/busy_machine_cpu.json

One process per setting trains the demo's model with two threads on two cores. The processes take turns of a few steps:
on an idle machine, beside one busy process and beside four, each with the batch in memory and with two data loaders.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from brs_detr.cli.process_setup import shorten_spin

CONFIG = "brs-co-deformable-detr_r18_1xb4-4e_shapes"
NUM_THREADS = NUM_CORES = NUM_LOADERS = 2
NUM_IMAGES, FILE_SIZE = 2, (480, 480)
NUM_BUSY = (0, 1, 4)
STEPS, SECONDS = 4, 2.0  # per turn, whichever comes first
COMMAND_LINE = "brs-detr"
SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"GOMP_SPINCOUNT={count}": {"GOMP_SPINCOUNT": str(count)} for count in (200, 1000, 5000, 20_000)},
    COMMAND_LINE: {},  # it sets its own
}


class Trainer:
    """A process that trains with one setting, and waits between its turns."""

    def __init__(self, setting: str, data: Path, side: int) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
        environment = {**kept, **SETTINGS[setting], "OMP_NUM_THREADS": str(NUM_THREADS), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, __file__, "--train", setting, "--data", str(data), "--side", str(side)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def turn(self, loading: bool) -> list[float]:
        """Take a turn, and return the seconds of each step."""
        self.process.stdin.write(f"{int(loading)}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def train(setting: str, data: Path, size: tuple[int, int]) -> None:
    """Run such a process: take a turn for every line on stdin."""
    if setting == COMMAND_LINE:
        shorten_spin()
    step, loaded = training_step(size), endless(loader_of(data, size))
    in_memory = step.batch
    for line in sys.stdin:
        seconds: list[float] = []
        while len(seconds) < STEPS and sum(seconds) < SECONDS:
            began = time.perf_counter()
            step.batch = next(loaded) if bool(int(line)) else in_memory
            step()
            seconds.append(time.perf_counter() - began)
        print(json.dumps(seconds), flush=True)


def training_step(size: tuple[int, int]) -> Any:
    """Return a callable that trains the model for one step on a random batch."""
    import torch
    from train_step import Setting, TrainStep

    from brs_detr.training.registry import register

    register()
    return TrainStep(Setting(CONFIG, torch.device("cpu"), NUM_IMAGES, size), "bucketed")


def loader_of(data: Path, size: tuple[int, int]) -> Any:
    """Return a data loader with its own processes, which read, resize and flip images."""
    from mmengine.runner import Runner
    from rich.console import Console

    from brs_detr.config.config import load_config
    from brs_detr.config.folder_data import use_folder

    config = load_config(CONFIG)
    use_folder(config, data, data / "placed", Console(quiet=True))
    config.train_dataloader.update(num_workers=NUM_LOADERS, batch_size=NUM_IMAGES)
    pipeline = config.train_dataloader.dataset.pipeline
    pipeline.insert(2, {"type": "Resize", "scale": size, "keep_ratio": True})
    return Runner.build_dataloader(config.train_dataloader, seed=0)


def endless(loader: Any) -> Iterator[Any]:
    """Yield the batches of a loader, epoch after epoch."""
    while True:
        yield from loader


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """Keep the given number of processes computing."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measure(trainers: Mapping[str, Trainer], budget_s: float) -> list[dict[str, Any]]:
    """Let all take turns until the time is up, at least one of each kind."""
    records = [
        {"setting": setting, "busy": number, "loading": loading, "seconds": []}
        for setting in trainers
        for number in NUM_BUSY
        for loading in (False, True)
    ]
    deadline = time.monotonic() + budget_s
    while True:
        for number in NUM_BUSY:
            with busy(number):
                for record in [record for record in records if record["busy"] == number]:
                    if time.monotonic() > deadline and all(other["seconds"] for other in records):
                        return records
                    record["seconds"] += trainers[record["setting"]].turn(record["loading"])
            print(f"beside {number}: {deadline - time.monotonic():.0f} s are left", flush=True)
        records = records[1:] + records[:1]  # so that each is the first at times


def busy_markdown(result: Mapping[str, Any]) -> str:
    """Make the table of median seconds per step by setting, with the ratio to the default."""
    medians = {(r["setting"], r["busy"], r["loading"]): statistics.median(r["seconds"]) for r in result["records"]}
    columns = [(number, loading) for loading in (False, True) for number in NUM_BUSY]
    names = {0: "idle", 1: "beside one busy process", 4: "beside four"}
    head = ["", *(f"{names[number]}{', loading' * loading}" for number, loading in columns)]
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * len(columns) + "|"]
    for setting in SETTINGS:
        cells = []
        for number, loading in columns:
            seconds, by_default = medians[setting, number, loading], medians["default", number, loading]
            cells.append(f"{seconds:.2f} s ({seconds / by_default:.2f})")
        lines.append(f"| {setting} | {' | '.join(cells)} |")
    machine = result["environment"]
    load = f"load average before: {machine['load_average']:.1f}"
    return "\n".join([*lines, "", f"{machine['device_name']}, PyTorch {machine['torch']}; {load}."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for the steps; preparation takes one or two more")
    parser.add_argument("--side", type=int, default=160, help="side of the images in pixels")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/busy_machine_cpu.json"))
    parser.add_argument("--train", choices=list(SETTINGS), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train is not None:
        train(args.train, args.data, (args.side, args.side))
        return
    import torch

    from brs_detr.data.synthetic.shapes import make_shapes
    from brs_detr.files import write_whole
    from measuring.results import describe_environment

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the other processes end as well
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:NUM_CORES])
    environment = {**describe_environment(torch.device("cpu")), "load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        make_shapes(Path(folder), 64, 4, FILE_SIZE, seed=0)
        trainers = {}
        for setting in SETTINGS:
            trainers[setting] = stack.enter_context(Trainer(setting, Path(folder), args.side))
            trainers[setting].turn(True)
        records = measure(trainers, 60 * args.minutes)
    result = {"environment": environment, "side": args.side, "records": records}
    write_whole(args.out, json.dumps(result, indent=1) + "\n")
    print(busy_markdown(result))


if __name__ == "__main__":
    main()
