"""`brs-detr info`: describe a file with weights."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from brs_detr.printable import printable


@click.command("info", short_help="Describe a checkpoint or an exported file.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, as_json: bool) -> None:
    """Describe FILE: a run folder, checkpoint, exported detector, official weights or backbone.

    Runs nothing that is stored in it. For a pickle with code, prints what would run.

    \b
    Examples:
      brs-detr info work_dirs/traffic
      brs-detr info model.onnx
      brs-detr info downloaded.pth --json
    """
    from brs_detr.checkpoints.file_info import describe_file
    from brs_detr.run.console import make_console

    info = describe_file(file)
    if as_json:
        click.echo(printable(json.dumps({"file": file.name, **asdict(info)}, indent=1, ensure_ascii=False)))
        return
    console = make_console()
    console.print(_in_one_line(f"{file}: {info.kind}"))
    width = max((len(name) for name in info.facts), default=0)
    for name, value in info.facts.items():
        console.print(_in_one_line(f"  {name.replace('_', ' '):{width}}  {_shown(value)}"))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", " ")
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        more = [f"and {len(value) - 20} more"] if len(value) > 20 else []
        return ", ".join([*map(_shown, value[:20]), *more])
    return str(value)


def _in_one_line(text: str) -> str:
    """Escape newlines, so that text from a file cannot imitate our output."""
    return text.replace("\n", "\\n")
