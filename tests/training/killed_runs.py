"""Runs that are killed at random points: `python killed_runs.py CONFIG DATA FOLDER NUM_PROCESSES NUM_RUNS`.

The first run is not interrupted, and each of the others is killed twice.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from forked_runs import finish, kill, start
from rich.console import Console

from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import train


def main(config: Path, data: Path, folder: Path, num_processes: int, num_runs: int) -> None:
    def begin(name: str) -> list[int]:
        def work(rank: int) -> None:
            run = RunFolder(folder / name)
            console = Console(quiet=rank > 0)
            train(config, data, run.path, seed=3, epochs=2, resume=run.can_resume, console=console)

        return start(num_processes, work)

    random.seed(0)
    began, num_kills = time.monotonic(), 0
    finish(begin("whole"))
    seconds = time.monotonic() - began
    for number in range(num_runs):
        first = random.uniform(0, seconds)
        num_kills += kill(begin(f"killed{number}"), first)
        num_kills += kill(begin(f"killed{number}"), random.uniform(0, seconds - first))
        finish(begin(f"killed{number}"))
    print(num_kills)


if __name__ == "__main__":
    config, data, folder, num_processes, num_runs = sys.argv[1:]
    main(Path(config), Path(data), Path(folder), int(num_processes), int(num_runs))
