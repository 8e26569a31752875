from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from brs_detr.cli import main

CONFIG = "brs-co-deformable-detr_r18_1xb4-12e_coco"


@pytest.fixture
def data(shapes: Path, tmp_path: Path) -> Path:
    """A copy of the shapes that a test may damage."""
    return Path(shutil.copytree(shapes, tmp_path / "data"))


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def assert_refused(result: Result, message: str) -> None:
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output


def test_train_says_what_to_do_next(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    result = invoke(tiny_config, "--data", shapes, "--work-dir", tmp_path / "run", "--epochs", 1, "--seed", 5)
    assert result.exit_code == 0, result.output
    assert "Seed 5." in result.stdout
    assert f"Next: brs-detr predict {tmp_path / 'run' / 'checkpoints' / 'best.pth'} IMAGE" in result.stdout
    assert "mmengine" not in result.output


def test_default_work_dir_has_the_name_of_the_config(
    tiny_config: Path, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(tiny_config, "--data", shapes, "--epochs", 1).exit_code == 0
    assert (tmp_path / "work_dirs" / "tiny" / "checkpoints" / "best.pth").is_file()
    assert_refused(invoke(tiny_config, "--data", shapes), "already holds a training run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["brs-co-deformable-detr_r18"], f"Did you mean '{CONFIG}'?"),
        (["nowhere/my_config.py"], "There is no config file nowhere/my_config.py"),
        ([CONFIG, "--data", "nowhere"], "There is no dataset folder nowhere"),
        ([CONFIG, "--set", "model.backbon.depth=18"], "Did you mean 'model.backbone'?"),
        ([CONFIG, "--set", "train_cfg.max_epochs"], "not of the form key=value"),
        ([CONFIG, "--resume"], "There is nothing to resume"),
        ([CONFIG, "--epochs", "0"], "Invalid value for '--epochs'"),
        ([CONFIG, "--seed", "x"], "Invalid value for '--seed'"),
    ],
)
def test_wrong_call_writes_nothing(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def change(file: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing annotation file": (lambda data: (data / "annotations" / "train.json").unlink(), "has no train split"),
    "broken JSON": (lambda data: (data / "annotations" / "train.json").write_text('{"images": ['), "is not valid JSON"),
    "no categories": (
        lambda data: change(data / "annotations" / "train.json", lambda content: content.pop("categories")),
        "has no list 'categories'",
    ),
    "unknown category": (
        lambda data: change(data / "annotations" / "train.json", lambda c: c["annotations"][0].update(category_id=99)),
        "annotation 1: category 99",
    ),
    "box outside": (
        lambda data: change(
            data / "annotations" / "train.json", lambda c: c["annotations"][0].update(bbox=[60, 0, 9, 9])
        ),
        "box outside of the image: 1 of 22 (annotation 1",
    ),
    "unreadable JPEG": (lambda data: (data / "train" / "000002.jpg").write_bytes(b"\xff\xd8 no"), "000002.jpg"),
    "unreadable JPEG to evaluate on": (lambda data: (data / "val" / "000002.jpg").write_bytes(b"no"), "000002.jpg"),
    "missing image": (lambda data: (data / "train" / "000003.jpg").unlink(), "000003.jpg"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_data(fault: str, tiny_config: Path, data: Path, tmp_path: Path) -> None:
    breaks, message = FAULTS[fault]
    breaks(data)
    before = sorted(tmp_path.rglob("*"))
    assert_refused(invoke(tiny_config, "--data", data, "--work-dir", tmp_path / "run"), message)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.fault("Interruptions", "Ctrl-C on the command line", "exit code 130, and the command that resumes")
def test_interrupt_says_how_to_resume(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [str(tiny_config), "--data", str(shapes), "--work-dir", str(run)]
    command = [sys.executable, "-m", "brs_detr.cli", "train", *arguments, "--epochs", "1000"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 60
    while not (run / "checkpoints" / "last.pth").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert f"The last checkpoint is {run / 'checkpoints' / 'last.pth'}" in stderr
    assert f"brs-detr train {' '.join(arguments)} --epochs 1000 --resume" in stderr
    assert "Traceback" not in stderr


@pytest.mark.fault(
    "Interruptions",
    "one of several data loader processes dies",
    "the others are ended, and the program exits with code 2; nothing hangs",
)
def test_the_end_of_a_loading_process_is_the_end(tiny_config: Path, shapes: Path, tmp_path: Path) -> None:
    from brs_detr.evaluation.loaders import SECONDS_TO_END

    run = tmp_path / "run"
    arguments = [str(tiny_config), "--data", str(shapes), "--work-dir", str(run), "--epochs", "1000"]
    for phase in ("train", "val"):
        arguments += ["--set", f"{phase}_dataloader.num_workers=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "brs_detr.cli", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not (run / "checkpoints" / "best.pth").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    children: list[str] = []
    while len(children) < 2 and time.monotonic() < deadline:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    began = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2, stderr
    assert "A data loader process was killed" in stderr
    assert time.monotonic() - began < SECONDS_TO_END + 15  # the delay of a worker that had only just started
