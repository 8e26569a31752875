from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from brs_detr.cli import main
from brs_detr.config.config import list_configs


def lines_of(*arguments: str) -> list[str]:
    result = CliRunner().invoke(main, ["configs", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_names_and_descriptions() -> None:
    lines = lines_of()
    entries = list_configs()
    assert [line.split()[0] for line in lines] == [entry.name for entry in entries]
    assert all(line.endswith(entry.description) for line, entry in zip(lines, entries, strict=True))


def test_paths() -> None:
    lines = lines_of("--path")
    assert len(lines) == len(list_configs())
    assert all(Path(line.split()[1]).is_file() for line in lines)
