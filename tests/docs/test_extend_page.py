"""The files of ``docs/extend.md`` train, and their detectors open again with ``--import``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from brs_detr.cli import main
from brs_detr.data.synthetic.shapes import make_shapes

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"
FILES = {
    re.match(r'"""(\w+\.py)', code)[1]: code
    for code in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
}
SMALL = (
    *("--set", "train_dataloader.num_workers=0", "--set", "val_dataloader.num_workers=0", "--no-report"),
    *("--epochs", "1", "--seed", "0"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page beside a small dataset."""
    folder = tmp_path_factory.mktemp("extend")
    for name, code in FILES.items():
        (folder / name).write_text(code, encoding="utf-8")
    make_shapes(folder / "traffic", 4, 2, (96, 96), 0)
    return folder


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brs_detr.cli", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_every_file_has_a_name() -> None:
    assert len(FILES) == 7


@pytest.mark.parametrize(
    ("config", "module"),
    [("my_config.py", "my_loss"), ("my_head_config.py", "my_head.py"), ("my_backbone_config.py", "my_backbone.py")],
)
def test_it_trains_and_opens_again(folder: Path, config: str, module: str) -> None:
    from_random = ("--set", "model.backbone.init_cfg=None") if "head" in config else ()
    trained = run(folder, "train", config, "--import", module, "--data", "traffic", *SMALL, *from_random)
    assert trained.returncode == 0, trained.stderr
    name = Path(config).stem
    if name == "my_config":
        refused = run(folder, "predict", f"work_dirs/{name}", "traffic/val")
        assert refused.returncode == 2 and "add --import my_loss" in " ".join(refused.stderr.split())
    opened = run(folder, "predict", f"work_dirs/{name}", "traffic/val", "--out", name, "--import", module)
    assert opened.returncode == 0, opened.stderr


def test_the_config_of_a_timm_model(folder: Path) -> None:
    named = run(
        folder, "train", "my_timm_config.py", "--data", "traffic", "--set", "model.backbone.pretrained=False", *SMALL
    )
    assert named.returncode == 0, named.stderr


@pytest.mark.parametrize(
    ("name", "code", "problem"),
    [
        ("no_such", None, "there is no module no_such"),
        ("no_such.py", None, "there is no such file"),
        ("needs_more", "import package_that_is_not_there", "stops with ModuleNotFoundError"),
        ("broken", "\n1 / 0", "broken.py, line 2"),
    ],
)
def test_a_module_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str | None, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    if code is not None:
        Path(f"{name}.py").write_text(code)
    failed = CliRunner().invoke(main, ["info", "run", "--import", name])
    assert failed.exit_code == 2
    assert problem in " ".join(failed.output.split())
