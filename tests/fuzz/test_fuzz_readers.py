"""Whatever is in the files of a dataset, the answer is a report or a refusal in words."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from good_data import WRITERS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mutations import Edit, answer_of, edited, edits, swapped, swaps

from brs_detr.data.checks.check import check_source
from brs_detr.data.formats.source import open_source
from brs_detr.data.writing.convert import convert
from brs_detr.errors import UserError

TEXTS = {".json", ".xml", ".txt", ".yaml", ".yml", ".names"}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset of every form."""
    folder = tmp_path_factory.mktemp("good")
    return {form: write(folder / form.replace(" ", "_").replace("/", "_")) for form, write in WRITERS.items()}


def check_with(folder: Path, file: Path, content: bytes) -> None:
    """Check and convert a dataset in which a file holds something else."""
    before = file.read_bytes()
    try:
        file.write_bytes(content)
        answer_of(lambda: check_source(open_source(folder)), UserError)
        with tempfile.TemporaryDirectory() as copy:
            answer_of(lambda: convert(folder, Path(copy) / "coco", link=True), UserError)
            for written in Path(copy).rglob("*.json"):
                json.loads(written.read_text(encoding="utf-8"), parse_constant=refuse_constant)
    finally:
        file.write_bytes(before)


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=40)
@example(number=0, changes=[(0, 0, b"[" * 3000)])
@example(number=0, changes=[(8, 0, b"9" * 5000)])
@given(number=st.integers(0, 1000), changes=edits)
@pytest.mark.fault(
    "Images and annotations",
    "annotation files with bytes changed, inserted or deleted at random",
    "a report or a refusal with a message, never a traceback",
)
def test_edited_files(form: str, good: dict[str, Path], number: int, changes: list[Edit]) -> None:
    files = sorted(path for path in good[form].rglob("*") if path.suffix in TEXTS)
    file = files[number % len(files)]
    check_with(good[form], file, edited(file.read_bytes(), changes))


@pytest.mark.parametrize("form", [form for form in WRITERS if "COCO" in form])
@settings(max_examples=150)
@example(number=0, changes=[(898, "\0")])
@example(number=1, changes=[(256, "a" * 500)])
@example(number=0, changes=[(place, 10**400) for place in range(1, 40, 3)])
@example(number=0, changes=[(1, {"score": [float("nan"), "\ud800"]})])
@given(number=st.integers(0, 1000), changes=swaps)
@pytest.mark.fault(
    "Images and annotations",
    "JSON with unexpected values: null, infinities, nested lists, empty names",
    "a report or a refusal with a message, never a traceback",
)
def test_odd_values_in_coco(form: str, good: dict[str, Path], number: int, changes: list) -> None:
    files = sorted(good[form].rglob("*.json"))
    file = files[number % len(files)]
    content = json.dumps(swapped(json.loads(file.read_text()), changes))
    check_with(good[form], file, content.encode(errors="surrogatepass"))
