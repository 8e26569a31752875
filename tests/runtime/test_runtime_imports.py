"""The runtime and the commands for exported detectors need no PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted_graphs import write_planted

ROOT = Path(__file__).parents[2]

BLOCKED = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "mmdet", "mmengine", "mmcv", "cv2", "matplotlib", "scipy",
                                      "pycocotools", "timm", "supervision", "onnx"):
            return None
        return self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def run_without_torch(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "picture.png")
    return write_planted(tmp_path / "model.onnx")


def test_detect_and_draw(model: Path, tmp_path: Path) -> None:
    code = """
from PIL import Image
from brs_detr.runtime import Detector
found = Detector(sys.argv[1])(sys.argv[2])
found.draw(Image.open(sys.argv[2])).save(sys.argv[3])
print(found.names, "torch" in sys.modules)
"""
    result = run_without_torch(code, model, tmp_path / "picture.png", tmp_path / "drawn.png")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "['dog', 'cat'] False"
    assert Image.open(tmp_path / "drawn.png").width >= 40


def test_what_a_detector_found_needs_no_detector() -> None:
    result = run_without_torch("import brs_detr; print(brs_detr.Detections.__module__)")
    assert result.stdout.strip() == "brs_detr.runtime.detections", result.stderr


COMMAND = "from brs_detr.cli import main; main(sys.argv[1:], prog_name='brs-detr')"


def test_predict(model: Path, tmp_path: Path) -> None:
    result = run_without_torch(COMMAND, "predict", model, tmp_path / "picture.png", "--out", tmp_path / "found")
    assert result.returncode == 0, result.stderr
    assert "2 objects" in result.stdout


def test_commands_that_need_more_say_what(model: Path, tmp_path: Path) -> None:
    for arguments in (["train", "x", "--data", tmp_path], ["export", tmp_path / "best.pth"], ["eval", "best.pth"]):
        result = run_without_torch(COMMAND, *arguments)
        assert result.returncode == 2, result.stderr
        assert "Add the extra [" in result.stderr and "`pip install " in result.stderr
        assert "Traceback" not in result.stderr


def test_the_doctor_does_not_miss_what_the_runtime_does_without() -> None:
    result = run_without_torch(COMMAND, "doctor")
    assert result.returncode == 0, result.stdout
    assert " ok  [runtime]" in result.stdout and " -   [tiles]" in result.stdout
    assert "Add the extra [NAME]: `pip install " in result.stdout
    assert "fault" not in result.stdout and "Cure" not in result.stdout
    assert result.stdout.endswith("What is installed works.\n")


@pytest.mark.slow
def test_in_an_environment_of_its_own(model: Path, tmp_path: Path) -> None:
    """Install the extra `runtime` from the network, run a detector, and measure the size."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{ROOT}[runtime]"], check=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode != 0
    code = "import sys; from brs_detr.runtime import Detector; print(Detector(sys.argv[1])(sys.argv[2]).names)"
    run = [python, "-c", code, model, tmp_path / "picture.png"]
    assert subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip() == "['dog', 'cat']"
    size = sum(file.stat().st_size for file in environment.rglob("*") if file.is_file())
    print(f"{size / 2**20:.0f} MiB installed")
    assert size < 400 * 2**20
