"""Start a training: in this process, on the GPUs of this machine, on several machines, or with Slurm."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.files import write_whole
from brs_detr.run.console import make_console
from brs_detr.run.locks import Held, hold, read_holder
from brs_detr.run.run_folder import RunFolder

INTERRUPTED = 130  # exit code
_MAX_RESTARTS = 3
_SECONDS_TO_MEET = 3600  # for several machines, one of which may still be reading COCO from a slow disk


@dataclass(frozen=True)
class Machines:
    """The machines of a training.

    Args:
        gpus: number of processes on each machine, one per GPU.
        count: number of machines.
        rank: rank of this machine, from 0.
        head: `HOST:PORT` of the first machine, needed with more than one.
    """

    gpus: int = 1
    count: int = 1
    rank: int = 0
    head: str | None = None

    @property
    def num_processes(self) -> int:
        """Number of processes on all machines."""
        return self.gpus * self.count

    @property
    def is_head(self) -> bool:
        """Whether this machine evaluates and writes the ledger."""
        return self.rank == 0

    def require_complete(self) -> None:
        """Raise a UserError if the machines could not find each other."""
        if self.count > 1 and self.head is None:
            raise UserError("The first of several machines must be named.", "Add --head HOST:PORT, the same on all.")
        if self.count > 1 and not re.fullmatch(r"[^:\s]+:\d+", str(self.head)):
            raise UserError(f"--head {self.head} is not of the form HOST:PORT.", "Example: --head node0:29500")
        if not 0 <= self.rank < self.count:
            raise UserError(f"--rank {self.rank} of {self.count} machines.", f"Ranks go from 0 to {self.count - 1}.")


@dataclass(frozen=True)
class Training:
    """What to train.

    Args:
        recipe: config file.
        work_dir: run folder.
        seed: seed of all random numbers.
        epochs: number of epochs, or None for that of the recipe.
    """

    recipe: Path
    work_dir: Path
    seed: int
    epochs: int | None = None


def run_training(training: Training, machines: Machines, console: Console) -> None:
    """Train to the end, from the last checkpoint if there is one.

    Raises:
        UserError: the training failed, or another process uses the folder.
    """
    with _claim(training.work_dir, machines.rank) as claim:
        if machines.num_processes == 1:
            _train_here(training, console)
            return
        command = torchrun_command(training, machines)
        console.print(shlex.join(command))
        code = _run(command, claim)
    if code:
        raise UserError(
            f"The training stopped with exit code {code}; see its messages above.",
            "Fix the fault and repeat the command: it resumes from the last checkpoint.",
        )


def _run(command: Sequence[str], claim: int | None) -> int:
    """Run a command. After a signal, wait until its processes have saved.

    Raises:
        Stopped: a signal was received.
    """
    from brs_detr.training.train_loop import STOPPING, Stopped

    received, waiting = list[int](), make_console(stderr=True)

    def receive(number: int, frame: object) -> None:
        received.append(number)
        if number != signal.SIGINT:  # a terminal sends SIGINT to the child, too
            child.send_signal(signal.SIGTERM)
        waiting.print("Waiting for the training processes to end")

    with subprocess.Popen(command, pass_fds=[] if claim is None else [claim]) as child:
        before = {number: signal.signal(number, receive) for number in STOPPING}
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if received:
        raise Stopped(received[0])
    if code < 0 or code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _train_here(training: Training, console: Console) -> None:
    from brs_detr.training.train import train

    train(
        training.recipe,
        work_dir=training.work_dir,
        resume=RunFolder(training.work_dir).can_resume,
        seed=training.seed,
        epochs=training.epochs,
        console=console,
    )


def torchrun_command(training: Training, machines: Machines) -> list[str]:
    """Return the command that trains on several GPUs, and restarts and resumes if a process is lost."""
    where = ["--standalone", "--local-addr=127.0.0.1"]  # torchrun hangs if the host name cannot be resolved
    if machines.count > 1:
        host, _, port = str(machines.head).rpartition(":")
        where = [
            f"--nnodes={machines.count}",
            f"--node-rank={machines.rank}",  # so that the first process, which writes the checkpoints, is on the head
            f"--master-addr={host}",
            f"--master-port={port}",
            f"--rdzv-conf=timeout={_SECONDS_TO_MEET}",
        ]
    options = [f"--work-dir={training.work_dir}", f"--seed={training.seed}", "--no-report"]
    options += [f"--epochs={training.epochs}"] if training.epochs else []
    return [
        *(sys.executable, "-m", "torch.distributed.run", *where, f"--nproc-per-node={machines.gpus}"),
        f"--max-restarts={_MAX_RESTARTS}",
        *("-m", "brs_detr.cli", "train", str(training.recipe), *options, "--resume=auto"),
    ]


@contextmanager
def _claim(folder: Path, rank: int = 0) -> Iterator[int | None]:
    """Lock a folder against a second training. A child process that inherits the descriptor holds the lock, too.

    Each machine has its own lock file, because machines that train together share the folder.
    """
    try:
        with hold(folder.with_name(f".{folder.name}.rank{rank}.lock"), wait=False) as descriptor:
            yield descriptor
    except Held:
        holder = read_holder(RunFolder(folder).lock)
        raise UserError(
            f"Another process is training in {folder}{f': {holder}' if holder else ''}.",
            "Wait for it or stop it, then repeat the command.",
        ) from None


_SLURM = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={gpus}
#SBATCH --cpus-per-task={cpus}
#SBATCH --time={hours}:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@300
#SBATCH --open-mode=append
#SBATCH --output={name}-%j.log
# Written by `brs-detr reproduce --slurm`. Submit it with `sbatch`. Five minutes before its time limit, and when it is
# preempted, the job saves, is requeued and resumes, as it does after the failure of a node.
# All nodes must have access to this folder and the data.
set -euo pipefail
cd {folder}
HEAD="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p):29500"
export HEAD
code=0
srun --cpus-per-task={cpus} --kill-on-bad-exit=1 bash -c {command} || code=$?
if [ "$code" -eq {stopped} ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
"""


def write_slurm_script(path: Path, name: str, arguments: Sequence[str], machines: Machines, hours: float) -> None:
    """Write a batch script for Slurm that runs the same command on every node.

    Args:
        path: file to write.
        name: name of the job.
        arguments: arguments of `brs-detr`, except those about machines.
        machines: number of nodes, and GPUs per node.
        hours: expected duration of the training.
    """
    command = shlex.join([sys.executable, "-m", "brs_detr.cli", *arguments])
    on_each_node = f'{command} --machines "$SLURM_NNODES" --rank "$SLURM_NODEID" --head "$HEAD"'
    text = _SLURM.format(
        name=name,
        nodes=machines.count,
        gpus=machines.gpus,
        cpus=6 * machines.gpus,
        hours=max(1, round(1.5 * hours + 1)),
        folder=shlex.quote(str(Path.cwd())),
        command=shlex.quote(on_each_node),
        stopped=128 + signal.SIGTERM,
    )
    write_whole(path, text)
