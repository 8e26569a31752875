from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.reproduce.launch import Machines, Training, _claim, run_training, torchrun_command, write_slurm_script
from brs_detr.run.locks import hold_run
from brs_detr.run.run_folder import RunFolder

TRAINING = Training(Path("a/recipe.py"), Path("a/run"), seed=3)


def test_one_machine_with_eight_gpus() -> None:
    command = torchrun_command(TRAINING, Machines(gpus=8))
    assert command[1:] == [
        *("-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"),
        *("--nproc-per-node=8", "--max-restarts=3"),
        *("-m", "brs_detr.cli", "train", "a/recipe.py", "--work-dir=a/run", "--seed=3", "--no-report"),
        "--resume=auto",  # after a restart, too
    ]


def test_several_machines_meet_at_the_first() -> None:
    machines = Machines(gpus=4, count=2, rank=1, head="node0:29500")
    command = torchrun_command(TRAINING, machines)
    meeting = {"--nnodes=2", "--node-rank=1", "--master-addr=node0", "--master-port=29500", "--nproc-per-node=4"}
    assert meeting <= set(command)
    assert "--standalone" not in command
    assert (machines.num_processes, machines.is_head) == (8, False)


@pytest.mark.fault(
    "Reproducing the paper", "the same row is started twice", "the second is refused while the first runs"
)
def test_a_folder_in_which_somebody_trains_is_left_alone(tmp_path: Path) -> None:
    training = Training(tmp_path / "recipe.py", tmp_path / "run", seed=0)
    with (
        _claim(tmp_path / "run"),
        hold_run(RunFolder(tmp_path / "run"), Console(quiet=True)),  # as the training does
        pytest.raises(UserError, match=rf"Another process is training in .*: process {os.getpid()} on "),
    ):
        run_training(training, Machines(), Console(quiet=True))


@pytest.mark.fault(
    "Reproducing the paper",
    "`reproduce` is killed, but its training is not",
    "the folder stays locked until the training ends",
)
def test_a_child_keeps_the_claim_of_a_process_that_was_killed(tmp_path: Path) -> None:
    reader, writer = os.pipe()  # the child lives until this end is closed
    script = f"""
import os, subprocess, sys
from pathlib import Path
from brs_detr.reproduce.launch import _claim
with _claim(Path({str(tmp_path / "run")!r})) as claim:
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin={reader}, pass_fds=[claim], **quiet)
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", script]
    parent = subprocess.run(command, capture_output=True, text=True, pass_fds=[reader], timeout=60)
    os.close(reader)
    assert parent.returncode == -9, parent.stderr
    with pytest.raises(UserError, match="Another process"), _claim(tmp_path / "run"):
        pass
    os.close(writer)
    os.kill(int(parent.stdout), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{parent.stdout.strip()}/fd").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    with _claim(tmp_path / "run"):
        pass


def test_a_training_that_fails_is_said_to_have_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brs_detr.reproduce.launch.torchrun_command", lambda *_: [sys.executable, "-c", "exit(3)"])
    training = Training(tmp_path / "recipe.py", tmp_path / "run", seed=0)
    with pytest.raises(UserError, match=r"exit code 3.*\s+.*resumes from the last checkpoint"):
        run_training(training, Machines(gpus=2), Console(quiet=True))
    monkeypatch.setattr("brs_detr.reproduce.launch.torchrun_command", lambda *_: [sys.executable, "-c", "exit(130)"])
    with pytest.raises(KeyboardInterrupt):
        run_training(training, Machines(gpus=2), Console(quiet=True))


def test_the_slurm_script_gives_the_same_command_on_every_node(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    arguments = ["reproduce", "table5", "--row", "brs-swin-l", "--gpus", "8", "--coco", "/data/my coco"]
    write_slurm_script(script, "brs-swin-l", arguments, Machines(gpus=8, count=2), hours=20.0)
    text = script.read_text()
    assert "#SBATCH --nodes=2" in text and "#SBATCH --gpus-per-node=8" in text and "#SBATCH --time=31:00:00" in text
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, body in (
        ("scontrol", 'printf "node0\\nnode1\\n"'),
        ("srun", 'shift 2; "$@"'),
        (Path(sys.executable).name, 'printf "%s|" "$@"'),
    ):
        (bin_folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_folder / name).chmod(0o755)
    (tmp_path / "run.sh").write_text(text.replace(sys.executable, str(bin_folder / Path(sys.executable).name)))
    environment = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        **{"SLURM_JOB_NODELIST": "node[0-1]", "SLURM_NNODES": "2", "SLURM_NODEID": "1"},
    }
    result = subprocess.run(["bash", tmp_path / "run.sh"], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    given = result.stdout.split("|")
    expected = ["-m", "brs_detr.cli", *arguments, "--machines", "2", "--rank", "1", "--head", "node0:29500", ""]
    assert given == expected


@pytest.mark.parametrize(("code", "is_queued"), [(0, False), (2, False), (128 + signal.SIGTERM, True)])
@pytest.mark.fault(
    "Reproducing the paper",
    "a Slurm job reaches its time limit, or is preempted",
    "it saves five minutes before, is requeued and resumes",
)
def test_slurm_queues_what_was_stopped_again(code: int, is_queued: bool, tmp_path: Path) -> None:
    write_slurm_script(tmp_path / "job.sh", "row", ["reproduce", "table5"], Machines(gpus=8), hours=20.0)
    assert "#SBATCH --signal=TERM@300" in (tmp_path / "job.sh").read_text()
    (tmp_path / "bin").mkdir()
    for name, body in (("scontrol", f'echo "$@" >> {tmp_path}/asked'), ("srun", f"exit {code}")):
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "a", "SLURM_JOB_ID": "17"}
    assert subprocess.run(["bash", tmp_path / "job.sh"], env=environment).returncode == code
    assert ("requeue 17" in (tmp_path / "asked").read_text()) == is_queued


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.fault(
    "Reproducing the paper",
    "Ctrl-C, SIGTERM or SIGUSR1 to `reproduce`",
    "passed on to the training; `reproduce` waits until it has saved",
)
def test_a_signal_waits_for_the_processes_to_end(number: signal.Signals, tmp_path: Path) -> None:
    """They may need longer than the 0.25 seconds that Python's `subprocess.run` waits."""
    stubborn = f"""
import signal, sys, time
def end(*_):
    time.sleep(1)
    open({str(tmp_path / "ended")!r}, "w").close()
    sys.exit(1)
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
open({str(tmp_path / "begun")!r}, "w").close()
time.sleep(60)
"""
    script = f"""
import signal, sys
from pathlib import Path
from rich.console import Console
from brs_detr.reproduce import launch
signal.signal(signal.SIGINT, signal.default_int_handler)
launch.torchrun_command = lambda *_: [sys.executable, "-c", {stubborn!r}]
training = launch.Training(Path("recipe.py"), Path({str(tmp_path / "run")!r}), seed=0)
try:
    launch.run_training(training, launch.Machines(gpus=2), Console(quiet=True))
except KeyboardInterrupt as error:
    print(Path({str(tmp_path / "ended")!r}).exists(), error.exit_code)
"""
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    assert process.communicate(timeout=60)[0].split() == ["True", str(128 + number)]


@pytest.mark.parametrize("head", ["node0", "node0:", ":29500", "a b:1"])
def test_a_head_without_a_port(head: str) -> None:
    with pytest.raises(UserError, match="is not of the form HOST:PORT"):
        Machines(gpus=1, count=2, head=head).require_complete()
