"""A run that is killed at any time ends as if it had not been interrupted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_runs import run_script
from scalars import read_scalars

from brs_detr.checkpoints.plain_file import load_plain
from brs_detr.run.run_folder import RunFolder

TIMES = {"time", "data_time", "memory"}


@pytest.fixture(scope="module")
def config(tiny_config: Path) -> Path:
    """A config with everything that has a state: a moving average, accumulated gradients, workers, a warmup."""
    path = tiny_config.with_name("with_state.py")
    path.write_text(
        tiny_config.read_text()
        + """
train_dataloader.update(batch_size=1, num_workers=1, persistent_workers=True)
optim_wrapper.update(accumulative_counts=2)
custom_hooks = [dict(type="EMAHook", momentum=0.1, update_buffers=True), dict(type="StopEarly", patience=5)]
train_cfg = dict(save_minutes=0)
"""
    )
    return path


def end_of(folder: Path) -> dict[str, Any]:
    """Everything that a run writes, except times and names."""
    run = RunFolder(folder)
    content = load_plain(run.last)
    best = load_plain(run.best)
    history = read_scalars(run.scalars)
    records = [{k: v for k, v in record.items() if k not in TIMES} for record in history.train + history.val]
    rows = [line.split(",") for line in run.metrics.read_text().splitlines()]
    timed = [rows[0].index(name) for name in ("images_per_second", "memory_mb")]
    return {
        "weights": content["state_dict"],
        "mean": content["ema_state_dict"],
        "optimizer": content["optimizer"],
        "schedules": content["param_schedulers"],
        "stop_early": content["stop_early"],
        "best": (best["state_dict"], best["meta"]["metrics"], best["meta"]["epoch"]),
        "predictions": json.loads(run.predictions.read_text()),
        "records": records,
        "num_lines": len(run.scalars.read_text().splitlines()),
        "metrics": [[cell for place, cell in enumerate(row) if place not in timed] for row in rows],
        "status": json.loads(run.record.read_text())["status"],
        "files": sorted(path.name for path in folder.rglob("*") if not re.match(r"events|\d{8}_", path.name)),
    }


def assert_equal(found: Any, expected: Any, where: str) -> None:
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_equal(found[key], value, f"{where} {key}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for number, value in enumerate(expected):
            assert_equal(found[number], value, f"{where} {number}")
    else:
        assert found == expected, where


def kill_runs(config: Path, data: Path, folder: Path, num_processes: int, num_runs: int) -> int:
    printed = run_script("killed_runs.py", config, data, folder, num_processes, num_runs)
    expected = end_of(folder / "whole")
    assert expected["status"] == "finished"
    for number in range(num_runs):
        assert_equal(end_of(folder / f"killed{number}"), expected, f"run {number}:")
    return int(printed.splitlines()[-1])


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.fault(
    "Interruptions",
    "SIGKILL at two random times, with one process and with two",
    "the resumed run ends equal, bit for bit: weights, moments, moving average, log, predictions",
)
def test_killed_twice(num_processes: int, config: Path, shapes: Path, tmp_path: Path) -> None:
    assert kill_runs(config, shapes, tmp_path, num_processes, 1) > 0


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_killed_at_20_points(num_processes: int, config: Path, shapes: Path, tmp_path: Path) -> None:
    assert kill_runs(config, shapes, tmp_path, num_processes, 14) >= 20
