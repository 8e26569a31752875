"""The report of a run (placeholder until the analysis lands)."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from brs_detr.engine.run_folder import RunFolder


def write_report(run: Path, *, console: Console | None = None) -> Path:
    raise NotImplementedError


def report_after_training(run: RunFolder, console: Console) -> None:
    return None
