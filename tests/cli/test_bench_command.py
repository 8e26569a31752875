from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from brs_detr.bench.implementations import IMPLEMENTATIONS
from brs_detr.cli import bench, main


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the smallest sizes, all implementations."""
    file = tmp_path_factory.mktemp("bench") / "new" / "results.json"
    result = invoke(
        "losses", "--max-logits", 10000, "--repeats", 1, "--out", file, "--figure", file.with_suffix(".png")
    )
    assert result.exit_code == 0, result.output
    assert "1/4  10K, 0.1 %: loop" in result.stdout and "4/4  10K, 5 %" in result.stdout
    assert "loop / bucketed" in result.stdout and f"Written to {file}" in result.stdout
    assert "\x1b" not in result.output
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


def test_plot_and_table(results: Path, tmp_path: Path) -> None:
    result = invoke("plot", results, "--out", tmp_path / "losses.svg")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "losses.svg").is_file() and "Drawn in" in result.stdout
    for quantity, title in (("time", "median ms"), ("memory", "MB"), ("operations", "millions"), ("bandwidth", "GB/s")):
        result = invoke("table", results, "--show", quantity)
        assert result.exit_code == 0, result.output
        assert title in result.stdout and "| 10K, 5 % | 10,000 | 500 |" in result.stdout


def test_the_default_place_and_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("losses", "--suite", "paper", "--max-logits", 10000, "--repeats", 1, "--only", "bce")
    assert result.exit_code == 0, result.output
    (file,) = (tmp_path / "benchmarks" / "results").iterdir()
    assert file.name.startswith("losses_") and file.name.endswith(f"_torch{torch.__version__.split('+')[0]}.json")
    assert {record["implementation"] for record in json.loads(file.read_text())["records"]} == {"bce"}
    assert str(file.relative_to(tmp_path)) in result.stdout


def test_the_names_offered_are_those_there_are() -> None:
    assert list(IMPLEMENTATIONS) == list(bench.SHORT_NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["losses", "--device", "cuda:99"], "This machine has no device cuda:99."),
        (["losses", "--device", "gpu"], "There is no device called 'gpu'."),
        (["losses", "--device", "meta"], "not on meta"),
        (["losses", "--max-logits", "5"], "leaves nothing to measure"),
        (["losses", "--out", "file/result.json"], "Cannot write file/result.json"),
        (["losses", "--out", "."], "is a folder"),
        (["losses", "--figure", "losses.txt"], "no format of a picture"),
        (["losses", "--suite", "co-detr", "--figure", "losses.png"], "--figure draws the paper's grid"),
        (["losses", "--only", "hinge"], "Invalid value for '--only'"),
        (["plot", "none.json"], "Cannot open the result none.json"),
        (["plot", "file"], "file is not a result of `brs-detr bench losses`: it is not JSON"),
        (["table", "file"], "file is not a result"),
        (["losses", "extra"], "unexpected extra argument"),
    ],
)
def test_refusals(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "_measure", lambda *arguments: pytest.fail("measured before it was refused"))
    (tmp_path / "file").write_text("not a result")
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_examples() -> None:
    result = invoke("--help")
    assert "brs-detr bench losses --device cpu" in result.output
    assert all(f"  {name} " in result.output for name in ("losses", "plot", "table"))
