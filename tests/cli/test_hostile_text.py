"""Untrusted names and values reach the terminal as text, not as control codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from good_data import edit_coco, write_good_coco
from PIL import Image

from brs_detr.cli import main
from brs_detr.errors import UserError
from brs_detr.printable import LONGEST_MESSAGE
from brs_detr.run.run_folder import RunFolder
from brs_detr.training.train import TrainedRun

NAMES = (
    "\x1b]0;pwned\x07\x1b[31m",
    "\x9b2J\x85c1",
    "cr\rbs\bff\x0c",
    "\u202egpj.evil\u202c\u2066x\u2069",
    "zero\u200bwidth\ufeff\u200d",
    "[red]markup[/] [/nonsense] :smile:",
    "beginning " + "x" * 500 + " end",
)


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert_plain(result.stdout)
    assert_plain(result.stderr)
    return result


def assert_plain(output: str) -> None:
    """No control characters, no interpreted markup, no emoji."""
    odd = {character for character in output if not character.isprintable()} - {"\n"}
    assert not odd, ascii(odd)
    assert max(map(len, output.splitlines()), default=0) < 3000
    assert "😄" not in output


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """COCO data with hostile class names, and with a fault to report."""
    folder = write_good_coco(tmp_path / "set")
    for split in ("train", "val"):
        edit_coco(folder, rename_classes, split)
    return folder


def rename_classes(dataset: dict) -> None:
    dataset["categories"] += [{"id": 3 + place, "name": name} for place, name in enumerate(NAMES)]
    for annotation, category in zip(dataset["annotations"], dataset["categories"], strict=False):
        annotation["category_id"] = category["id"]
    dataset["annotations"][0]["bbox"] = [5, 5, 0, 9]


def rename_images(folder: Path, split: str) -> None:
    """Give the images of a split hostile names, one of which is not UTF-8."""
    names = [name.replace("/", "|")[:200] for name in NAMES] + ["latin1-\udce4"]

    def rename(dataset: dict) -> None:
        for image, name in zip(dataset["images"], names, strict=False):
            old = image["file_name"]
            image["file_name"] = name + old
            (folder / split / old).rename(folder / split / (name + old))

    edit_coco(folder, rename, split)


def test_check(data: Path, tmp_path: Path) -> None:
    rename_images(data, "train")
    edit_coco(data, lambda dataset: [box.update(bbox=[60, 5, 10, 10]) for box in dataset["annotations"][1:12]])
    result = invoke("check", data, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert r"\u001b]0;pwned\u0007" in result.stdout and "[red]markup[/]" in result.stdout
    assert "beginning xxx" in words(result.stdout) and "x" * 100 not in result.stdout


def test_convert(data: Path, tmp_path: Path) -> None:
    rename_images(data, "train")
    result = invoke("convert", data, tmp_path / "out")
    assert r"\u001b]0;pwned" in result.output and "[red]markup[/] [/nonsense] :smile:" in result.output


@pytest.mark.fault(
    "Files from elsewhere",
    "names with terminal control codes, with markup, or of any length",
    "escaped, not interpreted, shortened",
)
def test_info_on_a_file(tmp_path: Path) -> None:
    tensors = {f"{name}\n.weight": torch.zeros(2) for name in NAMES}
    torch.save({"state_dict": tensors, "meta": {"CLASSES": NAMES, "epoch": "\x1b[2J"}}, tmp_path / "w.pth")
    for path in (tmp_path / "w.pth", shutil.copy(tmp_path / "w.pth", tmp_path / "\x1b[31m[red]w.pth")):
        result = invoke("info", path)
        assert result.exit_code == 0 and r"\u001b" in result.stdout
        content = json.loads(invoke("info", path, "--json").stdout)
        assert content["file"] == Path(path).name


def hostile_run(trained: TrainedRun, folder: Path, names: tuple[str, ...]) -> RunFolder:
    """A copy of a run whose classes have other names, in its checkpoints, its record and its data."""
    run = RunFolder(Path(shutil.copytree(trained.work_dir, folder)))
    for file in (run.best, run.last):
        content = torch.load(file, weights_only=False)
        content["meta"]["dataset_meta"]["classes"] = names
        torch.save(content, file)
    return run


def renamed_data(shapes: Path, folder: Path, names: tuple[str, ...]) -> Path:
    shutil.copytree(shapes, folder)
    for file in (folder / "annotations").iterdir():
        dataset = json.loads(file.read_text())
        for category, name in zip(dataset["categories"], names, strict=True):
            category["name"] = name
        file.write_text(json.dumps(dataset))
    return folder


@pytest.fixture
def names(trained: TrainedRun) -> tuple[str, ...]:
    before = torch.load(trained.best_checkpoint, weights_only=False)["meta"]["dataset_meta"]["classes"]
    return tuple(NAMES[place] for place in range(len(before)))


def test_eval_and_report(trained: TrainedRun, shapes: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    run = hostile_run(trained, tmp_path / "\x1b[31mrun", names)
    data = renamed_data(shapes, tmp_path / "data[red]\x9b", names)
    result = invoke("eval", run.path, "--data", data, "--split", "val", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert r"\u001b]0;pwned" in result.stdout and "all classes" in result.stdout
    result = invoke("eval", run.path, "--data", shapes, "--split", "val", "--device", "cpu")
    assert result.exit_code == 2 and "have different classes" in result.stderr
    result = invoke("report", run.path, "--device", "cpu")
    assert result.exit_code == 0 and r"Report: " in result.stdout and r"\u001b[31mrun" in result.stdout


def test_predict(trained: TrainedRun, tmp_path: Path, names: tuple[str, ...]) -> None:
    run = hostile_run(trained, tmp_path / "run", names)
    (tmp_path / "in").mkdir()
    for place, name in enumerate([*NAMES, "latin1-\udce4"]):
        pixels = np.full((32, 32, 3), place, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name.replace('/', '|')[:200]}{place}.png")
    (tmp_path / "in" / "\x1b[2Jnotes.txt").touch()
    call = ["predict", run.best, tmp_path / "in", "--device", "cpu", "--out", tmp_path / "out"]
    result = invoke(*call, "--threshold", 0, "--format", "csv", "--format", "yolo", "--crops")
    assert result.exit_code == 0 and r"\u001b[2Jnotes.txt" in result.stdout
    assert invoke(*call, "--overwrite", "--classes", "dog").exit_code == 2
    (tmp_path / "in" / "\x1b[2J[red]half.png").write_bytes(b"\x89PNG")
    result = invoke(*call, "--overwrite")
    assert result.exit_code == 2 and r"\u001b[2J[red]half.png" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "\x1b[2J\u202enone"],
        ["eval", "\x1b[2J\u202enone"],
        ["export", "run", "--format", "\x1b[2J\u202e"],
        ["predict", "m.onnx", "a.jpg", "--\x1b[2J\u202e"],
        ["predict", "m.onnx", "a.jpg", "--batch", "\x1b[2J\u202e"],
        ["configs", "\x1b[2J\u202e"],
        ["\x1b[2J\u202e"],
        ["--\x1b[2J\u202e"],
        ["download", "\x1b[2J\u202e"],
    ],
)
def test_the_command_line_is_quoted_plainly(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert r"\u202e" in result.stderr.lower()


@pytest.mark.parametrize("part", ["x", "word ", "line\n", "folder/"])
def test_a_message_is_never_long(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise UserError(f"data.yaml: names has {part * 100_000}.", "Mend it.")

    monkeypatch.setattr("brs_detr.config.config.list_configs", refuse)
    result = CliRunner().invoke(main, ["configs"])
    assert len(result.stderr) <= LONGEST_MESSAGE + len("Error: \n")
    assert result.stderr.startswith("Error: data.yaml: names has ") and result.stderr.endswith(".\n  Mend it.\n")


def test_warnings_logs_and_tracebacks() -> None:
    """They come from Python and from other packages."""
    code = (
        "import logging, warnings; from brs_detr.cli.process_setup import show_plainly\n"
        "show_plainly(); text = '\\x1b]0;x\\x07\\u202e'\n"
        "warnings.warn(text); logging.getLogger('a').warning('%s', text); raise RuntimeError(text)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert_plain(result.stderr)
    assert result.stderr.count(r"\u001b]0;x\u0007\u202e") == 3 and "Traceback" in result.stderr
