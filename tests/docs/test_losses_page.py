"""The pages on losses: their code runs, and what they say about functions and results is correct."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import losses
import pytest
import torch

import brs_detr.losses
from measuring.loss_results import markdown_table
from measuring.results import run as run_script

ROOT = Path(__file__).parents[2]
USE, METHOD, MEASURED = (
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("losses", "losses-method", "losses-measurements")
)


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(block: str) -> None:
    exec(compile(block, "block", "exec"), {"__name__": __name__})  # of a module that torch.compile can import


def defined(path: Path) -> set[str]:
    """Return the functions, classes, methods and constants of a file, without importing it."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{member.name}" for member in node.body if isinstance(member, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


@pytest.mark.parametrize("block", python_blocks(USE))
def test_code_runs(block: str) -> None:
    run(block)


def test_differences_of_exact_and_bucketed_are_those_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(
        r"^```python\n([^`]*paper_cells[^`]*)^```\n\n```text\n(.*?)^```", MEASURED, re.DOTALL | re.MULTILINE
    )
    run(found[1])
    printed, stated = (text.splitlines() for text in (capsys.readouterr().out, found[2]))
    assert [line[:11] for line in printed] == [line[:11] for line in stated] and len(stated) == 9
    for actual, expected in zip(printed[1:], stated[1:], strict=True):
        numbers, of_page = ([float(number) for number in line[11:].split()] for line in (actual, expected))
        assert numbers == pytest.approx(of_page, rel=0.1)  # two digits


def test_every_function_is_in_the_file_beside_it() -> None:
    links = re.findall(r"\[`([\w.]+)`\]\((\.\./brs_detr/losses/[\w/]+\.py)\)", METHOD)
    assert len(links) > 20
    for name, path in links:
        assert name in defined(ROOT / "docs" / path), f"{name} is not in {path}"


def test_public_names_of_the_table_exist_and_take_what_it_says() -> None:
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \| `(\w+)` \|.*\| ([\d.]+) \|$", USE, re.MULTILINE)
    assert len(rows) == 5
    for name, arguments, module, delta in rows:
        parameters = inspect.signature(getattr(brs_detr.losses, name)).parameters
        names = [argument.split("=")[0] for argument in arguments.split(", ") if argument != "*"]
        assert names == list(parameters)
        assert parameters["delta"].default == getattr(brs_detr.losses, module)().delta == float(delta)


@pytest.fixture
def update_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("update_docs", ROOT / "benchmarks" / "update_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_measured_figures_are_those_of_the_result_they_name(update_docs: ModuleType) -> None:
    results = {path.name: path for path in update_docs.cpu_results()}
    name = re.search(r"^From `(.*?)`", MEASURED, re.MULTILINE)
    assert name and name[1] in results, "run `python benchmarks/update_docs.py`"
    result = update_docs.read_result(results[name[1]])
    for quantity in update_docs.QUANTITIES:
        assert markdown_table(result, quantity) in MEASURED
    assert update_docs.fill(MEASURED, {"losses": update_docs.block(result, name[1])}) == MEASURED


def test_update_writes_the_tables_between_the_markers(
    update_docs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "losses-measurements.md"
    page.write_text("before\n<!-- losses -->\nold\n<!-- /losses -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(update_docs, "DOCS", tmp_path)
    update_docs.main([str(write_quick_result(tmp_path))])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- losses -->\nFrom ") and text.endswith("\n<!-- /losses -->\nafter\n")
    assert "old" not in text and text.count("| :-- |") == 3 and "losses_quick.json" in text
    assert (tmp_path / "images" / "losses.png").exists()


def write_quick_result(folder: Path) -> Path:
    path = folder / "losses_quick.json"
    arguments = ["--only", "exact", "bce", "--suite", "paper", "--max-logits", "10000", "--repeats", "1"]
    run_script(losses.make_parser(), losses.main, [*arguments, "--out", str(path)])
    return path


@pytest.mark.interpreted
@pytest.mark.parametrize(("bucketed", "capacity"), [(False, 300), (True, 300), (False, 9000), (True, 9000)])
def test_buffers_on_a_gpu_take_what_the_page_says(
    bucketed: bool, capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Allocate them for one row, without running a kernel."""
    from brs_detr.losses.cuda import launch

    allocated = []

    def buffers(make, dtype: torch.dtype, num_rows: int, sizes: list[int]) -> tuple[torch.Tensor, ...]:
        allocated.append(num_rows * sum(sizes) * dtype.itemsize)
        return original(make, dtype, num_rows, sizes)

    original = launch._buffers
    monkeypatch.setattr(launch, "_buffers", buffers)
    monkeypatch.setattr(launch, "kernels", MagicMock())
    monkeypatch.setattr(torch, "_assert_async", lambda *_: None)
    logits = torch.zeros(1, capacity)
    options = {"bucketed": bucketed, "interpolated": False, "sorting": True, "max_positives": capacity}
    launch.write_terms(logits, logits, logits.new_zeros(2, 1), logits.new_zeros(2, 1, capacity), delta=0.5, **options)
    said = re.search(
        r"(\d+) KiB per row \((\d+) bucketed\), and (\d+) bytes for each of them "
        r"\((\d+), or\s(\d+) bucketed, beyond 8,191\)",
        USE,
    )
    kib, kib_bucketed, few, many, many_bucketed = map(int, said.groups())
    if capacity <= 8191:
        expected = 1024 * (kib_bucketed if bucketed else kib) + few * capacity
    else:
        expected = (many_bucketed if bucketed else many) * capacity
    assert sum(allocated) == pytest.approx(expected, abs=200)


def test_what_the_readme_says_of_speed_is_measured(update_docs: ModuleType) -> None:
    """The time of a focal loss, 1/10 of the bucketed loss as published: at a million logits with 1,000 positives."""
    (*_, path) = update_docs.cpu_results()
    records = update_docs.read_result(path).records
    times = {r.implementation: r.median_s for r in records if (r.num_logits, r.num_positives) == (1_000_000, 1000)}
    assert times["exact"] == pytest.approx(times["focal"], rel=0.25)
    assert 8 < times["bucketed_matrix"] / times["exact"] < 15
