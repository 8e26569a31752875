"""Links, paths, names, options and Python code on every page are valid."""

from __future__ import annotations

import functools
import pkgutil
import re
import shlex
import shutil
import sys
from pathlib import Path

import click
import pytest
from planted_graphs import write_planted
from tiny_runs import shapes, tiny_config, trained  # noqa: F401

from brs_detr import __version__
from brs_detr.cli import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = [str(path.relative_to(ROOT)) for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PATH = r"`?\b((?:brs_detr|projects|configs|tests|benchmarks|tools)/[\w./-]*\w)"

each_page = pytest.mark.parametrize("page", PAGES)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *languages: str) -> list[str]:
    return [block for language, block in BLOCK.findall(read(page)) if language in languages]


@functools.cache
def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_to_files_and_headings(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", read(page)):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@each_page
def test_paths_and_dotted_names_exist(page: str) -> None:
    text = read(page)
    for path in re.findall(PATH, text):
        assert re.search("[A-Z]{4}", path) or any(ROOT.glob(f"{path}*")), path  # but for DEVICE and the like
    for name in re.findall(r"`(brs_detr(?:\.\w+)+)[`(]", text):
        pkgutil.resolve_name(name)


def commands(page: str) -> list[str]:
    lines = [line.split("#")[0] for block in blocks(page, "", "sh") for line in block.replace("\\\n", " ").splitlines()]
    found = [line[line.index("brs-detr ") :] for line in lines if re.match(r"\s*(?:srun \.\.\. )?brs-detr ", line)]
    return [*found, *re.findall(r"`(brs-detr [^`\n]+)`", read(page))]


@each_page
def test_commands_have_the_options_that_they_are_given(page: str) -> None:
    for text in commands(page):
        command: click.Command = main
        _, *arguments = shlex.split(re.sub(r"[|\]]|\[.*?\]", " ", text))
        context = click.Context(main)
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            name, *arguments = arguments
            if name.isupper() or name == "...":
                break
            found = command.get_command(context, name)
            assert found is not None, text
            command = found
        known = {option for parameter in command.get_params(context) for option in parameter.opts}
        known |= {option for parameter in command.get_params(context) for option in parameter.secondary_opts}
        given = {argument.split("=")[0] for argument in arguments if argument.startswith("--")} - {"--help"}
        assert given <= known, text


@each_page
def test_what_is_installed_is_enough_for_the_commands_below(page: str) -> None:
    for block in blocks(page, "sh"):
        installed = re.search(r"pip install (?:-e )?'\.\[(.*)\]'", block)
        for extra in ("export", "serve") if installed else ():
            assert extra in installed[1].split(",") or f"brs-detr {extra}" not in block, block


@pytest.fixture
def folder(tmp_path: Path, shapes: Path, trained, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """Provide a demo run, a run, an exported model and an image under the names that the pages use."""
    for run in ("demo/run", "work_dirs/traffic"):
        shutil.copytree(trained.work_dir, tmp_path / run)
    shutil.copytree(shapes, tmp_path / "demo" / "data")
    shutil.copy(tmp_path / "demo" / "data" / "val" / "000001.jpg", tmp_path / "street.jpg")
    write_planted(tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUN = [
    (page, number, block)
    for page in ("README.md", "docs/commands.md", "docs/export.md", "docs/runtime.md")
    for number, block in enumerate(blocks(page, "python"))
    if "import" in block
]


@pytest.mark.parametrize(("page", "number", "block"), RUN, ids=lambda value: str(value) if len(str(value)) < 30 else "")
def test_python_runs_as_printed(page: str, number: int, block: str, folder: Path) -> None:
    exec(compile(block, f"{page}, block {number}", "exec"), {})


def test_the_layers_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract["name"] == "Imports point one way")
    section = read("CONTRIBUTING.md").partition("## Layers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \| ", section, re.MULTILINE)[1:]
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == [set(layer.split(" | ")) for layer in layers]


def test_at_most_three_files_are_opened_for_a_change() -> None:
    section = read("CONTRIBUTING.md").partition("## Where to change what")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w.*?) \| (.*) \|$", section, re.MULTILINE)[1:]
    assert len(rows) == 5
    for what, where in rows:
        assert 1 <= len(re.findall(PATH, where)) <= 3, what


def test_the_readme_is_short_and_begins_with_a_command() -> None:
    lines = read("README.md").splitlines()
    assert len(lines) < 120
    assert next(number for number, line in enumerate(lines) if line.startswith("make demo")) < 30


def test_the_version_is_the_one_to_cite_and_of_the_changelog() -> None:
    version = re.search(r"^version: (\S+)$", read("CITATION.cff"), re.MULTILINE)[1]
    assert __version__.startswith(version)
    assert f"## [{version}]" in read("CHANGELOG.md")
