from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine import Config

from brs_detr.run.distributed import join_processes
from brs_detr.training.guard import GuardedOptimWrapper


def test_single_process_is_left_alone(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    config = Config({"model": {}})
    join_processes(config)
    assert config.to_dict() == {"model": {}}
    assert not torch.distributed.is_initialized()


@pytest.mark.fault(
    "Several processes",
    "the end of a run on several processes",
    "the process group ends before Python does; no process aborts or hangs",
)
def test_leaving_ends_the_threads_of_the_group_even_where_a_cycle_holds_it(tmp_path: Path) -> None:
    """A separate process: the remains of a group are its threads, which only Linux lists."""
    script = f"""
import os, torch, torch.distributed as dist
from brs_detr.run.distributed import _leave_processes
count_threads = lambda: len(os.listdir("/proc/self/task"))
before = count_threads()
dist.init_process_group("gloo", store=dist.FileStore({str(tmp_path / "store")!r}, 1), rank=0, world_size=1)
cycle = [dist.group.WORLD]
cycle.append(cycle)
del cycle
joined = count_threads()
_leave_processes()
print(joined > before, count_threads() - before, dist.is_initialized())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert result.stdout.split()[-3:] == ["True", "0", "False"], result.stderr  # after messages of gloo


def test_two_processes_train_on_the_cpu(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    command = ["-m", "brs_detr.cli", "train", tiny_config, "--data", shapes, "--work-dir", tmp_path / "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [*launch, "--nproc-per-node=2", *map(str, command), "--epochs=1", "--seed=4"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Seed 4.") == 1  # the second process is silent
    meta = torch.load(tmp_path / "run" / "checkpoints" / "best.pth", weights_only=True)["meta"]
    assert meta["iter"] == 2  # 6 images, 2 processes with 2 each: 1.5 batches


@pytest.mark.fault(
    "Several processes",
    "gradients are accumulated over several batches",
    "they are sent to the other processes once per step, not once per batch",
)
def test_accumulated_gradients_are_sent_once(tmp_path: Path) -> None:
    from mmengine.model import MMDistributedDataParallel

    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        model = MMDistributedDataParallel(torch.nn.Linear(2, 1), broadcast_buffers=False)
        sent: list[int] = []

        def count(state, bucket):  # PyTorch looks at annotations, and wants classes there
            sent.append(len(losses))
            future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        model.register_comm_hook(None, count)
        wrapper = GuardedOptimWrapper(torch.optim.SGD(model.parameters(), 0.1), accumulative_counts=3)
        wrapper.initialize_count_status(model, 0, 8)
        losses: list[float] = []
        for _ in range(8):
            with wrapper.optim_context(model):
                loss = model(torch.ones(1, 2)).sum()
                losses.append(loss.item())
                wrapper.update_params(loss)
    finally:
        torch.distributed.destroy_process_group()
    assert sent == [3, 6, 8]
    assert losses[0] == losses[1] == losses[2] != losses[3]
