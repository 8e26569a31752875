"""`brs-detr report`: show what a training run came to."""

from __future__ import annotations

from pathlib import Path

import click

from brs_detr.cli.trust import trust_option


@click.command("report", short_help="Make the report of a training run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), default="val", show_default=True, help="What to analyse."
)
@click.option("--device", help="To evaluate on: cpu, cuda, ... [default: the GPU if there is one]")
@trust_option
def command(run: Path, split: str, device: str | None, trust_file: bool) -> None:
    """Write report.html into the folder RUN: curves, AP by class and size, what went wrong, and how to repeat the run.

    `train` and `finetune` make it by themselves. Detections on the validation images are kept with the run; those on
    another split are made anew.

    \b
    Examples:
      brs-detr report work_dirs/traffic
      brs-detr report work_dirs/traffic --split test
    """
    from brs_detr.evaluation.report import write_report
    from brs_detr.run.console import make_console

    page = write_report(run, split=split, device=device, trust_file=trust_file)
    make_console().print(f"Report: {page}")
