"""Runs that are killed at random points, in processes of their own: `python killed_runs.py CONFIG DATA FOLDER ...`.

Everything is imported once; every process of a training is a fork.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import time
from pathlib import Path

from rich.console import Console

from brs_detr.engine.run_folder import RunFolder
from brs_detr.engine.train import train

EPOCHS = 2


def train_as(rank: int, num_processes: int, port: int, config: Path, data: Path, folder: Path) -> None:
    """Train to the end as one of several processes, from the last checkpoint if there is one."""
    if num_processes > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_processes, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1")
    console = Console(quiet=rank > 0)
    train(config, data, folder, seed=3, epochs=EPOCHS, resume=RunFolder(folder).can_resume, console=console)


def start(num_processes: int, *arguments: Path) -> list[int]:
    """Fork the processes of a training; their numbers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    numbers = []
    for rank in range(num_processes):
        number = os.fork()
        if number == 0:
            os.setsid()
            code = 1
            try:
                train_as(rank, num_processes, port, *arguments)
                code = 0
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        numbers.append(number)
    return numbers


def finish(numbers: list[int]) -> None:
    """Wait for all, and stop where one failed."""
    for number in numbers:
        status = os.waitpid(number, 0)[1]
        if status:
            raise SystemExit(f"a process ended with {status}")


def kill(numbers: list[int], seconds: float) -> bool:
    """Kill all after so many seconds, one of them a little earlier; whether they were still at it."""
    time.sleep(seconds)
    alive = [os.waitpid(number, os.WNOHANG)[0] == 0 for number in numbers]
    for number, is_alive in zip(random.sample(numbers, len(numbers)), alive, strict=True):
        if is_alive:
            os.killpg(number, signal.SIGKILL)
            time.sleep(0.01 * random.random())
    for number, is_alive in zip(numbers, alive, strict=True):
        if is_alive:
            os.waitpid(number, 0)
    return all(alive)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--kills", type=int, default=2, help="runs, each killed twice")
    arguments = parser.parse_args()
    random.seed(0)
    began = time.monotonic()
    finish(start(arguments.processes, arguments.config, arguments.data, arguments.folder / "whole"))
    seconds = time.monotonic() - began
    kills = 0
    for number in range(arguments.kills):
        folder = arguments.folder / f"killed{number}"
        numbers = start(arguments.processes, arguments.config, arguments.data, folder)
        first = random.uniform(0, seconds)
        kills += kill(numbers, first)
        numbers = start(arguments.processes, arguments.config, arguments.data, folder)
        kills += kill(numbers, random.uniform(0, seconds - first))
        finish(start(arguments.processes, arguments.config, arguments.data, folder))
    print(json.dumps({"seconds": seconds, "kills": kills}))


if __name__ == "__main__":
    main()
