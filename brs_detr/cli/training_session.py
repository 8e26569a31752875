"""What `train` and `finetune` say in the end, and when they are interrupted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brs_detr.cli import INTERRUPTED

if TYPE_CHECKING:
    from brs_detr.engine.train import TrainedRun


@contextmanager
def resumable(work_dir: Path) -> Iterator[None]:
    """Say, when a training is interrupted, where its last checkpoint is and how to go on, and leave."""
    try:
        yield
    except KeyboardInterrupt:
        _say_how_to_resume(work_dir)
        sys.exit(INTERRUPTED)


def conclude(run: TrainedRun, with_report: bool) -> None:
    """Make the report and say what is where, in the first process of several."""
    from brs_detr.engine.console import make_console
    from brs_detr.engine.distributed import is_first
    from brs_detr.engine.report import report_after_training
    from brs_detr.engine.run_folder import RunFolder

    if not is_first():
        return
    if with_report:
        report_after_training(RunFolder(run.work_dir), make_console())
    if run.best_checkpoint.exists():
        click.echo(f"Best AP {run.best_ap:.3f}: {run.best_checkpoint}")
        click.echo(f"Next: brs-detr predict {run.best_checkpoint} IMAGE")
    else:
        click.echo(f"Never evaluated. The weights are in {run.last_checkpoint}")


def _say_how_to_resume(work_dir: Path) -> None:
    from brs_detr.engine.run_folder import RunFolder

    last = RunFolder(work_dir).last
    if not last.exists():
        click.echo("\nStopped before the first checkpoint.", err=True)
        return
    again = shlex.join(argument for argument in sys.argv[1:] if argument != "--resume")
    click.echo(f"\nStopped. The last checkpoint is {last}. To go on:\n  brs-detr {again} --resume", err=True)
