"""`brs-detr train`: train a config. Also what `finetune` shares with it: options, resuming, the final messages."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from brs_detr.cli import INTERRUPTED
from brs_detr.cli.options import data_only_option, require_shipped, trust_option

if TYPE_CHECKING:
    from brs_detr.training.train import TrainedRun


class TrainingCommand(click.Command):
    """A command whose option `--resume` takes the optional value `auto`, and no other word after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, with a bare `--resume` as `--resume=last`."""
        pairs = zip_longest(args, args[1:])
        is_bare = [arg == "--resume" and following != "auto" for arg, following in pairs]
        return super().parse_args(ctx, [arg + "=last" * bare for arg, bare in zip(args, is_bare, strict=True)])


resume_option = click.option(
    "--resume",
    type=click.Choice(["last", "auto"]),
    metavar="[auto]",
    help="Continue from the last checkpoint in the run folder; with auto, start a new run if there is none.",
)


_TRAINING_OPTIONS = (
    click.option(
        "--loss",
        type=click.Choice(["exact", "bucketed", "rs", "ap", "bap", "focal"]),
        help="Classification loss of all heads: exact (rs) or bucketed Rank & Sort, AP, bucketed AP, or focal for the "
        "score-based detector. [default: as in the config]",
    ),
    click.option("--amp", is_flag=True, help="Compute in bfloat16: faster on GPUs and CPUs that support it."),
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Random seed. [default: drawn, printed and stored]"),
    click.option("--deterministic", is_flag=True, help="Reproducible bit for bit on a GPU too, which is slower."),
    resume_option,
    click.option(
        "--log",
        "services",
        multiple=True,
        type=click.Choice(["wandb", "mlflow"]),
        help="Also send losses and metrics to this service; repeatable.",
    ),
    click.option("--no-report", is_flag=True, help="Do not write report.html."),
    trust_option,
    data_only_option,
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `train` and `finetune`."""
    for option in reversed(_TRAINING_OPTIONS):
        command = option(command)
    return command


def wants_to_resume(resume: Literal["last", "auto"] | None, work_dir: Path) -> bool:
    """Return whether to resume the run in a folder."""
    from brs_detr.run.run_folder import RunFolder

    return RunFolder(work_dir).can_resume if resume == "auto" else resume is not None


@contextmanager
def resumable(work_dir: Path) -> Iterator[None]:
    """Exit when training is interrupted, and print the last checkpoint and how to resume."""
    try:
        yield
    except KeyboardInterrupt as error:
        from brs_detr.run.console import make_console
        from brs_detr.run.run_folder import RunFolder

        console, last = make_console(stderr=True), RunFolder(work_dir).last
        if last.exists():
            again = shlex.join([*sys.argv[1:], *([] if "--resume" in sys.argv else ["--resume"])])
            console.print(f"\nStopped. The last checkpoint is {last}. To resume:\n  brs-detr {again}")
        else:
            console.print("\nStopped before the first checkpoint.")
        sys.exit(getattr(error, "exit_code", INTERRUPTED))


def conclude(run: TrainedRun, with_report: bool) -> None:
    """Write the report, and print the results. Only the first of several processes does."""
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
        console.print(f"Not evaluated. The weights are in {run.last_checkpoint}")


@click.command("train", cls=TrainingCommand, short_help="Train a config on your data or on COCO.")
@click.argument("config")
@click.option("--data", type=click.Path(path_type=Path), help="Your dataset in COCO, Pascal VOC or YOLO format.")
@click.option("--work-dir", type=click.Path(path_type=Path), help="Run folder. [default: work_dirs/CONFIG]")
@click.option("--epochs", type=click.IntRange(1), help="Number of epochs; the schedule is scaled to it.")
@training_options
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the config; repeatable.")
def command(
    config: str,
    data: Path | None,
    work_dir: Path | None,
    resume: Literal["last", "auto"] | None,
    no_report: bool,
    data_only: bool,
    **options: Any,
) -> None:
    """Train CONFIG, a name from `brs-detr configs` or a config file. A file is a program that runs with your rights.

    Class names are read from the data, and stored in the checkpoint. The run folder contains checkpoints/best.pth (to
    use) and last.pth (to resume), config.py, run.json, metrics.csv, predictions.json, train.log and vis_data/
    (TensorBoard, scalars.json).

    \b
    Examples:
      brs-detr train brs-co-deformable-detr_r18_1xb4-12e_coco --data shapes --epochs 24
      brs-detr train brs-co-deformable-detr_r50_8xb2-12e_coco --data traffic --amp --seed 1
      brs-detr train my_config.py --set optim_wrapper.optimizer.lr=1e-4 --set train_dataloader.batch_size=8
      torchrun --nproc-per-node 8 -m brs_detr.cli train brs-co-deformable-detr_r50_8xb2-12e_coco
      torchrun --nproc-per-node 8 --max-restarts 3 -m brs_detr.cli train my_config.py --resume auto
    """
    from brs_detr.training.train import default_work_dir, train

    if data_only:
        require_shipped(config)
    work_dir = work_dir or default_work_dir(config, options["loss"])
    with resumable(work_dir):
        run = train(config, data, work_dir, resume=wants_to_resume(resume, work_dir), **options)
    conclude(run, with_report=not no_report)
