"""Several machines, of which one loses a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from forked_runs import free_port

from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.run.run_folder import RunFolder


@pytest.mark.slow
@pytest.mark.parametrize("meeting", ["static", "c10d"])
@pytest.mark.fault(
    "Several processes",
    "a process on one of two machines dies",
    "torchrun restarts all processes, `--resume auto` resumes; the run ends with the weights of an undisturbed one",
)
def test_two_machines_begin_anew_and_go_on(meeting: str, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    """This machine plays both. In one run a process is killed; both runs end with the same weights."""
    weights = []
    for name in ("whole", "killed"):
        run, port = RunFolder(tmp_path / name), free_port()
        command = ["-m", "brs_detr.cli", "train", tiny_config, "--data", shapes, "--work-dir", run.path, "--no-report"]
        command += ["--seed=3", "--epochs=3", "--resume=auto", "--set", "train_cfg.save_minutes=0"]
        agents = []
        for rank in range(2):
            where = [f"--node-rank={rank}", "--master-addr=127.0.0.1", f"--master-port={port}"]
            if meeting == "c10d":
                where = ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=run"]
            torchrun = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--max-restarts=2", *where]
            agents.append(
                subprocess.Popen(
                    [sys.executable, *torchrun, *map(str, command)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
                )
            )
        if name == "killed":
            deadline = time.monotonic() + 120
            while not run.last.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            children = Path(f"/proc/{agents[1].pid}/task/{agents[1].pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGKILL)
        outputs = [agent.communicate(timeout=300)[0] for agent in agents]
        assert [agent.returncode for agent in agents] == [0, 0], outputs
        assert ("Resuming" in "".join(outputs)) == (name == "killed")
        weights.append(load_plain(run.last)["state_dict"])
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
