from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from mmengine import Config

from brs_detr.engine.distributed import join_processes


def test_single_process_is_left_alone(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    config = Config({"model": {}})
    join_processes(config)
    assert config.to_dict() == {"model": {}}
    assert not torch.distributed.is_initialized()


def test_two_processes_train_on_the_cpu(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = ["-m", "brs_detr.cli", "train", tiny_config, "--data", shapes, "--work-dir", tmp_path / "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [*launch, *map(str, command), "--epochs=1", "--seed=4"], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Seed 4.") == 1  # the second process is silent
    meta = torch.load(tmp_path / "run" / "best.pth", weights_only=True)["meta"]
    assert meta["iter"] == 2  # 6 pictures, 2 processes with 2 each: 1.5 batches
