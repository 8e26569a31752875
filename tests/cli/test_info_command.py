from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from planted_graphs import INFO, write_planted

from brs_detr.cli import main


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["info", *map(str, arguments)])


def test_an_exported_detector(tmp_path: Path) -> None:
    path = write_planted(tmp_path / "m.onnx")
    result = invoke(path)
    assert result.exit_code == 0, result.output
    first, *rows = result.stdout.splitlines()
    assert first == f"{path}: exported detector (ONNX)"
    facts = dict(row.strip().split("  ", 1) for row in rows)
    assert facts["classes"].strip() == "cat, dog"
    assert facts["score threshold"].strip() == "0.25"
    assert facts["inputs"].strip() == "images: tensor(uint8) ['batch', 'h', 'w', 3]"
    assert "\x1b" not in result.stdout


def test_an_exported_detector_needs_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_planted(tmp_path / "m.onnx")
    for package in ("torch", "onnx"):
        monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    assert json.loads(invoke(path, "--json").stdout)["facts"]["head"] == INFO.head


def test_json_says_the_same(tmp_path: Path) -> None:
    torch.save({"layer1.0.conv1.weight": torch.zeros(2, 3)}, tmp_path / "w.pth")
    content = json.loads(invoke(tmp_path / "w.pth", "--json").stdout)
    assert content["file"] == "w.pth"
    assert content["kind"] == "weights: ResNet, as torchvision or timm save it"
    assert content["facts"]["parameters"] == 6
    assert content["facts"]["dtypes"] == ["float32"]


def test_names_in_a_file_do_not_steer_the_terminal(tmp_path: Path) -> None:
    torch.save({"\x1b]0;pwned\x07.weight": torch.zeros(2)}, tmp_path / "w.pth")
    result = invoke(tmp_path / "w.pth")
    assert result.exit_code == 0, result.output
    assert "pwned" in result.stdout
    assert "\x1b" not in result.stdout and "\x07" not in result.stdout


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.pth", None, "Cannot open"),
        ("empty.pth", b"", "it is empty"),
        ("noise.bin", bytes(range(128, 256)) * 40, "damaged or not a checkpoint"),
        ("text.onnx", b"hello", "a text file"),
        ("noise.onnx", b"\x08\x09\x3a\xff\xff", "damaged or not an ONNX model"),
    ],
)
def test_refusals(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = invoke(tmp_path / name)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
