"""What `train` and `finetune` have in common: how they are resumed, what they say in the end or when interrupted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from brs_detr.cli import INTERRUPTED

if TYPE_CHECKING:
    from brs_detr.training.train import TrainedRun


class TrainingCommand(click.Command):
    """A command with `--resume` that may have the value `auto`; whatever else follows it is not its value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse."""
        pairs = zip_longest(args, args[1:])
        is_bare = [arg == "--resume" and following != "auto" for arg, following in pairs]
        return super().parse_args(ctx, [arg + "=last" * bare for arg, bare in zip(args, is_bare, strict=True)])


resume_option = click.option(
    "--resume",
    type=click.Choice(["last", "auto"]),
    metavar="[auto]",
    help="Go on from the last checkpoint in the work dir; with auto, begin where there is none.",
)


def wants_to_resume(resume: Literal["last", "auto"] | None, work_dir: Path) -> bool:
    """Whether a run is to go on with what is in its folder."""
    from brs_detr.run.run_folder import RunFolder

    return RunFolder(work_dir).can_resume if resume == "auto" else resume is not None


@contextmanager
def resumable(work_dir: Path) -> Iterator[None]:
    """Say, when a training is interrupted, where its last checkpoint is and how to go on, and leave."""
    try:
        yield
    except KeyboardInterrupt as error:
        _say_how_to_resume(work_dir)
        sys.exit(getattr(error, "exit_code", INTERRUPTED))


def conclude(run: TrainedRun, with_report: bool) -> None:
    """Make the report and say what is where, in the first process of several."""
    from brs_detr.evaluation.report import report_after_training
    from brs_detr.run.console import make_console
    from brs_detr.run.distributed import is_first
    from brs_detr.run.run_folder import RunFolder

    if not is_first():
        return
    console = make_console()
    if with_report:
        report_after_training(RunFolder(run.work_dir), console)
    if run.best_checkpoint.exists():
        console.print(f"Best AP {run.best_ap:.3f}: {run.best_checkpoint}")
        console.print(f"Next: brs-detr predict {run.best_checkpoint} IMAGE")
    else:
        console.print(f"Never evaluated. The weights are in {run.last_checkpoint}")


def _say_how_to_resume(work_dir: Path) -> None:
    from brs_detr.run.console import make_console
    from brs_detr.run.run_folder import RunFolder

    console = make_console(stderr=True)
    last = RunFolder(work_dir).last
    if not last.exists():
        console.print("\nStopped before the first checkpoint.")
        return
    resume = [] if "--resume" in sys.argv else ["--resume"]
    again = shlex.join([*sys.argv[1:], *resume])
    console.print(f"\nStopped. The last checkpoint is {last}. To go on:\n  brs-detr {again}")
