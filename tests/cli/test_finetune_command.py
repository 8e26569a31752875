from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from brs_detr.cli import main


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["finetune", *map(str, arguments)])


def test_every_flag_reaches_the_recipe(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = "--epochs 1 --batch 3 --effective-batch 3 --lr 2e-3 --resolution 96x64 --freeze 0 --queries 12 --patience 3"
    switches = "--no-ema --mosaic --seed 4 --no-report --amp --set flip=0.25 --set env_cfg.cudnn_benchmark=True"
    result = invoke(
        shapes, "--model", tiny_config, "--weights", "none", "--work-dir", run, *flags.split(), *switches.split()
    )
    assert result.exit_code == 0, result.output
    assert f"Next: brs-detr predict {run / 'checkpoints' / 'best.pth'} IMAGE" in result.stdout
    record = json.loads((run / "run.json").read_text())
    recipe = record["tuning"]["recipe"]
    expected = dict(epochs=1, effective_batch=3, learning_rate=2e-3, resolution=[96, 64], frozen_stages=0, queries=12)
    expected |= dict(patience=3, ema=False, mosaic=True, flip=0.25)
    assert {name: recipe[name] for name in expected} == expected
    assert (record["tuning"]["batch"], record["seed"], record["amp"]) == (3, 4, True)
    assert "mmengine" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--model", "r18"], "There is no dataset folder nowhere"),
        ([".", "--model", "r18"], "No dataset in ."),
        ([".", "--model", "r19"], "Did you mean 'r18'?"),
        ([".", "--model", "r18", "--weights", "no.pth"], "There is no file no.pth"),
        ([".", "--model", "r18", "--batch", "0"], "neither a number of images nor auto"),
        ([".", "--model", "r18", "--batch", "many"], "neither a number of images nor auto"),
        ([".", "--model", "r18", "--lr", "0"], "Invalid value for '--lr'"),
        ([".", "--model", "r18", "--set", "epoch=3"], "Did you mean 'epochs'?"),
        ([".", "--model", "r18", "--set", "epochs"], "not of the form key=value"),
        ([".", "--model", "r18", "--set", "model.backbon.depth=18"], "Did you mean 'model.backbone'?"),
        ([".", "--model", "r18", "--set", "optim_wrapper.optimizer.lr=1"], "Use --lr X"),
        ([".", "--model", "r18", "--set", "train_dataloader.dataset.pipeline.0.type=X"], "Use --set flip=0"),
        ([".", "--model", "r18", "--resume"], "There is nothing to resume"),
    ],
)
def test_wrong_call_writes_nothing(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_plan_prints_the_run_and_writes_nothing(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    (data / "annotations" / "val.json").unlink()  # two images are held out, which needs annotation files
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = sorted(tmp_path.rglob("*"))
    result = invoke(data, "--model", tiny_config, "--plan", "--epochs", 3, "--lr", "2e-3", "--seed", 1)
    assert result.exit_code == 0, result.output
    rows = [re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines()]
    assert [f"Model {tiny_config}: {tiny_config}"] in rows
    assert [f"Data: {data}: 4 train images, 2 val images, 6 classes"] in rows
    assert ["Weights: none: all weights are random"] in rows
    assert ["epochs", "3, 3 steps", "your setting"] in rows
    assert ["batch", "4 images: 2 x 2 accumulated", "more, smaller steps"] in rows
    assert ["learning rate", "0.002, cosine", "your setting"] in rows
    assert ["Would write to work_dirs/data_tiny/. Nothing was written."] in rows
    assert sorted(tmp_path.rglob("*")) == before


def test_plan_of_a_run_that_is_resumed_is_that_of_the_run(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    run = ["--model", tiny_config, "--work-dir", tmp_path / "run"]
    options = ["--epochs", 1, "--effective-batch", 2, "--set", "flip=0", "--no-report"]
    assert invoke(shapes, *run, *options).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    result = invoke(shapes, *run, "--plan")
    assert result.exit_code == 2
    assert "already holds a training run" in result.stderr
    result = invoke(shapes, "--work-dir", tmp_path / "run", "--model", tiny_config, "--plan", "--resume")
    assert result.exit_code == 0, result.output
    assert "1, 3 steps" in result.stdout
    assert f"Would resume from {tmp_path / 'run' / 'checkpoints' / 'last.pth'}" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("setting", ["flip=7", "queries=0", "multi_scale=(1, 0.5)"])
def test_setting_out_of_range_leaves_nothing(setting: str, tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    result = invoke(shapes, "--model", tiny_config, "--work-dir", tmp_path / "run", "--set", setting)
    assert result.exit_code == 2, result.output
    assert f"{setting.partition('=')[0]}=" in result.stderr
    assert not (tmp_path / "run").exists()


def test_interrupt_says_how_to_resume(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [str(shapes), "--model", str(tiny_config), "--work-dir", str(run), "--epochs", "1000"]
    command = [sys.executable, "-m", "brs_detr.cli", "finetune", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 60
    while not (run / "checkpoints" / "last.pth").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert f"brs-detr finetune {' '.join(arguments)} --resume" in stderr
    assert "Traceback" not in stderr
