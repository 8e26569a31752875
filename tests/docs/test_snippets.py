"""The Python in README and docs runs as printed, and what is installed before a command is what it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from planted_graphs import write_planted
from tiny_runs import shapes, tiny_config, trained  # noqa: F401

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md")))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [block for found, block in BLOCK.findall(text) if found == language]


@pytest.fixture
def folder(tmp_path: Path, shapes: Path, trained, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """What the demo leaves, a run, an exported model and a picture, under the names that the pages use."""
    for run in ("demo/run", "work_dirs/traffic"):
        shutil.copytree(trained.work_dir, tmp_path / run)
    shutil.copytree(shapes, tmp_path / "demo" / "data")
    shutil.copy(tmp_path / "demo" / "data" / "val" / "000001.jpg", tmp_path / "street.jpg")
    write_planted(tmp_path / "model.onnx")
    write_planted(tmp_path / "demo" / "run" / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUN = [
    (page, number, block)
    for page in ("README.md", "docs/commands.md", "docs/export.md")
    for number, block in enumerate(blocks(page, "python"))
    if "import" in block
]


@pytest.mark.parametrize(("page", "number", "block"), RUN, ids=lambda value: str(value) if len(str(value)) < 30 else "")
def test_python_runs_as_printed(page: str, number: int, block: str, folder: Path) -> None:
    exec(compile(block, f"{page}, block {number}", "exec"), {})


def test_a_head_of_ones_own_runs_as_printed(tmp_path: Path) -> None:
    """In a process of its own: mmdet must not have been imported before."""
    (block,) = blocks("docs/detectors.md", "python")
    use = """
from brs_detr.heads import register
register()
head = RankingRetinaHead(2, 8, loss_cls=dict(type="BucketedRankSortLoss", delta=0.5), loss_bbox=dict(type="GIoULoss"),
                         reg_decoded_bbox=True)
print(type(head.loss_cls).__name__)
"""
    result = subprocess.run([sys.executable, "-c", block + use], capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout.strip() == "BucketedRankSortLoss", result.stderr


@pytest.mark.parametrize("page", PAGES)
def test_what_is_installed_is_enough_for_the_commands_below(page: str) -> None:
    for block in blocks(page, "sh"):
        installed = re.search(r"pip install (?:-e )?'\.\[(.*)\]'", block)
        for extra in ("export", "serve") if installed else ():
            assert extra in installed[1].split(",") or f"brs-detr {extra}" not in block, block


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_are_named_exist(page: str) -> None:
    for path in re.findall(r"\btests/[\w/]+(?:\.py)?", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path
