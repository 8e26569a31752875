"""Train on one or several processes, which are forks of a script that has imported everything already."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path


def run_script(name: str, *arguments: object) -> str:
    """Run a script in this folder, which must succeed, and return its output."""
    command = [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(num_processes: int, work: Callable[[int], object]) -> list[int]:
    """Fork the processes of a training, as torchrun would start them, and return their ids.

    Args:
        num_processes: at least 1.
        work: function that each process calls with its rank.
    """
    port = free_port()
    numbers = []
    for rank in range(num_processes):
        number = os.fork()
        if number == 0:
            os.setsid()
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_processes, "MASTER_PORT": port}
            if num_processes > 1:
                os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1")
            try:
                work(rank)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        numbers.append(number)
    return numbers


def finish(numbers: list[int]) -> None:
    """Wait for all processes, and exit if one failed."""
    for number in numbers:
        status = os.waitpid(number, 0)[1]
        if status:
            raise SystemExit(f"a process ended with {status}")


def kill(numbers: list[int], seconds: float) -> bool:
    """Kill all processes, one shortly after the other, and return whether all were still running."""
    time.sleep(seconds)
    alive = [number for number in numbers if os.waitpid(number, os.WNOHANG)[0] == 0]
    for number in random.sample(alive, len(alive)):
        os.killpg(number, signal.SIGKILL)
        time.sleep(0.01 * random.random())
    for number in alive:
        os.waitpid(number, 0)
    return len(alive) == len(numbers)
