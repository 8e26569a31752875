from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from brs_detr.cli import demo, main
from brs_detr.run.locks import hold


def invoke(*arguments: object) -> Result:
    size = ["--train-images", "4", "--val-images", "3", "--image-size", "64", "--epochs", "1"]
    return CliRunner().invoke(main, ["demo", *size, *map(str, arguments)])


@pytest.fixture
def tiny(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "CONFIG", str(tiny_config))


@pytest.mark.usefixtures("tiny")
def test_demo(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = invoke("--out", out, "--seed", 3)
    assert result.exit_code == 0, result.output
    summary = json.loads((out / "summary.json").read_text())
    assert summary.keys() >= {"AP", "AP50", "train_seconds", "eval_seconds"}
    assert (summary["train_images"], summary["val_images"], summary["seed"]) == (4, 3, 3)
    for name in ("curves.png", "eval/pictures.jpg", "run/checkpoints/best.pth", "data/annotations/val.json"):
        assert (out / name).is_file()
        assert name.split("/")[0] in result.stdout
    assert f"brs-detr predict {out}/run/checkpoints/best.pth {out}/data/val" in result.stdout
    again = invoke("--out", out)  # an earlier demo is replaced
    assert again.exit_code == 0, again.output


def test_a_demo_that_is_being_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with hold(tmp_path / demo.MARKER, wait=False):
        result = invoke("--out", tmp_path)
    assert result.exit_code == 2
    assert f"Another demo is running in {tmp_path}." in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data", demo.MARKER}


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    result = invoke("--out", tmp_path)
    assert result.exit_code == 2
    assert "something other than a demo" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    result = invoke("--out", tmp_path / "thesis.tex")
    assert result.exit_code == 2
    assert "is a file" in result.stderr


def test_shipped_config_is_the_small_one() -> None:
    from brs_detr.config.config import find_config

    assert "brs_detr" in find_config(demo.CONFIG).parts
