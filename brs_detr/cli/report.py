"""`brs-detr report`: write the report of a training run."""

from __future__ import annotations

from pathlib import Path

import click

from brs_detr.cli.options import device_option, trust_option


@click.command("report", short_help="Write the report of a training run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), default="val", show_default=True, help="Split to analyse."
)
@device_option
@trust_option
def command(run: Path, split: str, device: str | None, trust_file: bool) -> None:
    """Write report.html into the run folder RUN: curves, AP by class and size, errors, and how to repeat the run.

    `train` and `finetune` write it automatically. Detections on the validation images are stored in the run folder; on
    another split, the best checkpoint is evaluated.

    \b
    Examples:
      brs-detr report work_dirs/traffic
      brs-detr report work_dirs/traffic --split test
    """
    from brs_detr.evaluation.report import write_report
    from brs_detr.run.console import make_console

    page = write_report(run, split=split, device=device, trust_file=trust_file)
    make_console().print(f"Report: {page}")
