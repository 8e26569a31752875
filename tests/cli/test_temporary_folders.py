"""No temporary files are left, however a command ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from good_data import write_good_coco
from rich.console import Console

from brs_detr.errors import UserError
from brs_detr.evaluation.evaluate import open_any_split
from brs_detr.training.train import TrainedRun

WAIT_WHILE_A_FOLDER_IS_IN_USE = """
import signal, sys, tempfile
from pathlib import Path
from brs_detr.config import config
from brs_detr.files import temporary_folder
from brs_detr.errors import UserError

def wait():
    Path(temporary_folder(), "val.json").touch()
    with tempfile.TemporaryDirectory(prefix="brs-detr-"):
        print("ready", flush=True)
        sys.stdin.readline()
    raise UserError("no split")

config.list_configs = wait
signal.signal(signal.SIGINT, signal.default_int_handler)  # background shells ignore it
from brs_detr.cli import run
run()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files of this process and its children."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def run(*arguments: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "brs_detr.cli", *map(str, arguments)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return result.returncode, result.stdout


def yolo_shapes(shapes: Path, folder: Path) -> Path:
    """The validation images in a format for which evaluation has to write an annotation file."""
    dataset = json.loads((shapes / "annotations" / "val.json").read_text())
    (folder / "labels" / "val").mkdir(parents=True)
    shutil.copytree(shapes / "val", folder / "images" / "val")
    for image in dataset["images"]:
        lines = [
            f"{box['category_id'] - 1} {(x + w / 2) / 64} {(y + h / 2) / 64} {w / 64} {h / 64}\n"
            for box in dataset["annotations"]
            if box["image_id"] == image["id"] and not box.get("iscrowd")
            for x, y, w, h in [box["bbox"]]
        ]
        (folder / "labels" / "val" / Path(image["file_name"]).with_suffix(".txt").name).write_text("".join(lines))
    names = [category["name"] for category in dataset["categories"]]
    (folder / "data.yaml").write_text(f"train: images/val\nval: images/val\nnames: {json.dumps(names)}\n")
    return folder


def test_an_evaluation_that_had_to_write_an_annotation_file(
    trained: TrainedRun, shapes: Path, tmp_path: Path, temporary: Path
) -> None:
    data, out = yolo_shapes(shapes, tmp_path / "yolo"), tmp_path / "out"
    code, output = run("eval", trained.best_checkpoint, "--data", data, "--split", "val", "--out", out)
    assert code == 0, output
    assert str(temporary) in json.loads((out / "metrics.json").read_text())["annotation_file"]
    assert list(temporary.iterdir()) == []


def test_a_folder_that_is_not_needed_goes_at_once(tmp_path: Path, temporary: Path) -> None:
    data = write_good_coco(tmp_path / "coco")
    assert open_any_split(data, "val", Console(quiet=True)).annotation_file.is_relative_to(data)
    assert list(temporary.iterdir()) == []
    with pytest.raises(UserError, match="no test split"):
        open_any_split(data, "test", Console(quiet=True))
    assert list(temporary.iterdir()) == []


@contextmanager
def killed_in_the_end(process: subprocess.Popen) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, None])
@pytest.mark.fault("Interruptions", "Ctrl-C, SIGTERM or an error outside of training", "no temporary file is left")
def test_a_command_that_is_ended(temporary: Path, number: signal.Signals | None) -> None:
    command = [sys.executable, "-c", WAIT_WHILE_A_FOLDER_IS_IN_USE, "configs"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process, killed_in_the_end(process):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert len(list(temporary.glob("brs-detr-*"))) == 2
        if number is not None:
            process.send_signal(number)
            process.wait(60)  # before its input ends
        output = process.communicate()
    expected = {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM, None: 2}
    assert process.returncode == expected[number]
    assert output == ("", "" if number else "Error: no split\n")
    assert list(temporary.iterdir()) == []


def test_a_check_that_divides_the_data(tmp_path: Path, temporary: Path) -> None:
    (write_good_coco(tmp_path / "set") / "annotations" / "val.json").unlink()
    code, output = run("check", tmp_path / "set", "--out", tmp_path / "checked")
    assert code == 0 and "no split to measure with" in " ".join(output.split())
    assert list(temporary.iterdir()) == []
