from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import losses
import pytest
import torch
from PIL import Image

from measuring.loss_results import SHORT_NAMES
from measuring.problems import IMPLEMENTATIONS
from measuring.results import run

ROOT = Path(__file__).parents[2]


def call(*arguments: object) -> int | None:
    with pytest.raises(SystemExit) as ended:
        run(losses.make_parser(), losses.main, list(map(str, arguments)))
        sys.exit(0)
    return ended.value.code


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of all implementations at the smallest sizes."""
    file = tmp_path_factory.mktemp("bench") / "new" / "results.json"
    assert call("--max-logits", 10000, "--repeats", 1, "--out", file, "--figure", file.with_suffix(".png")) == 0
    return file


def test_one_run_measures_everything(results: Path) -> None:
    content = json.loads(results.read_text())
    assert content["environment"]["device"] == "cpu"
    assert content["environment"]["copy_bytes_per_s"] > 0
    assert len(content["records"]) == 4 * len(IMPLEMENTATIONS)
    for record in content["records"]:
        assert record["median_s"] > 0 and record["peak_extra_bytes"] > 0 and record["operations"] > 0
    with Image.open(results.with_suffix(".png")) as picture:
        picture.verify()


def test_a_result_is_drawn_and_printed(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--read", results, "--figure", tmp_path / "losses.svg") == 0
    assert (tmp_path / "losses.svg").is_file() and "Drawn in" in capsys.readouterr().out
    for quantity, title in (("time", "median ms"), ("memory", "MB"), ("operations", "millions"), ("bandwidth", "GB/s")):
        assert call("--read", results, "--show", quantity) == 0
        printed = capsys.readouterr().out
        assert title in printed and "| 10K, 5 % | 10,000 | 500 |" in printed


def test_the_default_place_and_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("--suite", "paper", "--max-logits", 10000, "--repeats", 1, "--only", "bce", "exact") == 0
    (file,) = (tmp_path / "benchmarks" / "results").iterdir()
    assert file.name.startswith("losses_") and file.name.endswith(f"_torch{torch.__version__.split('+')[0]}.json")
    assert {record["implementation"] for record in json.loads(file.read_text())["records"]} == {"bce", "exact"}
    printed = capsys.readouterr().out
    assert "1/4  10K, 0.1 %: bce" in printed and "4/4  10K, 5 %" in printed
    assert "Forward and backward" in printed and "\x1b" not in printed
    assert str(file.relative_to(tmp_path)) in printed


def test_every_implementation_has_a_short_name() -> None:
    assert list(IMPLEMENTATIONS) == list(SHORT_NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cuda:99"], "This machine has no device cuda:99."),
        (["--device", "gpu"], "There is no device called 'gpu'."),
        (["--device", "meta"], "not meta"),
        (["--max-logits", "5"], "leaves nothing to measure"),
        (["--out", "file/result.json"], "Cannot write file/result.json"),
        (["--out", "."], "is a folder"),
        (["--figure", "losses.txt"], "no known image suffix"),
        (["--suite", "co-detr", "--figure", "losses.png"], "--figure draws the paper's grid"),
        (["--only", "hinge"], "argument --only: invalid choice: 'hinge'"),
        (["--repeats", "0"], "argument --repeats"),
        (["--read", "none.json", "--figure", "losses.png"], "Cannot open the result none.json"),
        (
            ["--read", "file", "--figure", "losses.png"],
            "file is not a result of `benchmarks/losses.py`: it is not JSON",
        ),
        (["--read", "file"], "file is not a result"),
        (["extra"], "unrecognized arguments: extra"),
    ],
)
def test_refusals(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(losses, "measure_size", lambda *arguments: pytest.fail("measured before it was refused"))
    (tmp_path / "file").write_text("not a result")
    assert call(*arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["losses", "inference", "train_step", "training_cost"])
def test_every_script_explains_itself_with_examples(name: str) -> None:
    parser = importlib.import_module(name).make_parser()
    assert f"python benchmarks/{name}.py" in parser.format_help()


def test_it_runs_from_anywhere(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks" / "losses.py", "--read", "none.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2 and "Cannot open the result none.json" in done.stderr
