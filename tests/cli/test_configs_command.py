from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from brs_detr.cli import main
from brs_detr.engine.config import list_configs


def test_names_and_descriptions() -> None:
    lines = CliRunner().invoke(main, ["configs"]).output.splitlines()
    entries = list_configs()
    assert [line.split()[0] for line in lines] == [entry.name for entry in entries]
    assert all(line.endswith(entry.description) for line, entry in zip(lines, entries, strict=True))


def test_paths() -> None:
    lines = CliRunner().invoke(main, ["configs", "--path"]).output.splitlines()
    assert all(Path(line.split()[1]).is_file() for line in lines)
