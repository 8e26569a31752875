"""`brs-detr train`: train a config."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from brs_detr.cli.training_session import TrainingCommand, conclude, resumable, resume_option, wants_to_resume
from brs_detr.cli.trust import data_only_option, require_shipped, trust_option


@click.command("train", cls=TrainingCommand, short_help="Train a config on your data or on COCO.")
@click.argument("config")
@click.option("--data", type=click.Path(path_type=Path), help="Your data: COCO, Pascal VOC or YOLO.")
@click.option("--work-dir", type=click.Path(path_type=Path), help="Where to write. [default: work_dirs/CONFIG]")
@resume_option
@trust_option
@data_only_option
@click.option("--amp", is_flag=True, help="Compute in bfloat16: faster on GPUs and on CPUs that have it.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Repeat a run. [default: drawn, printed and stored]")
@click.option("--deterministic", is_flag=True, help="The same bits from the same seed on a GPU too; slower.")
@click.option("--epochs", type=click.IntRange(1), help="How long to train; the schedule is stretched to it.")
@click.option(
    "--log",
    "services",
    multiple=True,
    type=click.Choice(["wandb", "mlflow"]),
    help="Send losses and metrics there too.",
)
@click.option("--no-report", is_flag=True, help="Leave out report.html.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the config; repeatable.")
def command(
    config: str,
    data: Path | None,
    work_dir: Path | None,
    resume: Literal["last", "auto"] | None,
    amp: bool,
    seed: int | None,
    deterministic: bool,
    epochs: int | None,
    services: tuple[str, ...],
    no_report: bool,
    overrides: tuple[str, ...],
    trust_file: bool,
    data_only: bool,
) -> None:
    """Train CONFIG, a name from `brs-detr configs` or a file. A file is a program: it runs with all your rights.

    The class names are read from the data and kept in the checkpoint. The work dir receives
    checkpoints/best.pth (to use) and last.pth (to resume), config.py, run.json, metrics.csv, predictions.json,
    train.log and vis_data/ (TensorBoard, scalars.json).

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
    work_dir = work_dir or default_work_dir(config)
    with resumable(work_dir):
        run = train(
            config,
            data,
            work_dir,
            resume=wants_to_resume(resume, work_dir),
            amp=amp,
            seed=seed,
            deterministic=deterministic,
            epochs=epochs,
            overrides=overrides,
            services=services,
            trust_file=trust_file,
        )
    conclude(run, with_report=not no_report)
