"""`brs-detr finetune`: train on your own data by a recipe that fits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from brs_detr.cli.check import Size
from brs_detr.cli.training_session import TrainingCommand, conclude, resumable, resume_option, wants_to_resume
from brs_detr.cli.trust import data_only_option, require_shipped, trust_option


class _Batch(click.ParamType):
    """A number of images, or `auto`."""

    name = "N|auto"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["auto"]:
        """The number, or the word."""
        text = str(value).strip().lower()
        if text == "auto":
            return "auto"
        if not text.isdecimal() or int(text) == 0:
            self.fail(f"{value!r} is neither a number of images nor auto.", param, ctx)
        return int(text)


@click.command("finetune", cls=TrainingCommand, short_help="Train on your own data by a recipe that fits it.")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--model",
    help="r18, r50, swin-t, swin-l, co-r50 ..., or a config; a file is a program, and runs. "
    "[default: r50 on a GPU, r18 without]",
)
@click.option("--weights", metavar="FILE|NAME|none", help="What to start from. [default: what the model names]")
@click.option("--work-dir", type=click.Path(path_type=Path), help="Where to write. [default: work_dirs/DATA_MODEL]")
@click.option("--epochs", type=click.IntRange(1), help="[default: by the number of images]")
@click.option("--batch", type=_Batch(), help="Images in memory at a time. [default: as the model says]")
@click.option("--effective-batch", type=click.IntRange(1), help="Images a step; the rest is accumulated.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Learning rate, for the batch as it is.")
@click.option("--resolution", type=Size(), help="Long and short side in pixels. [default: as the model says]")
@click.option("--freeze", type=click.IntRange(-1, 4), help="Stages of the backbone; 0 the stem, -1 nothing.")
@click.option("--queries", type=click.IntRange(1), help="Most objects in an image. [default: as the data ask for]")
@click.option("--patience", type=click.IntRange(0), help="Evaluations without a better AP to stop after; 0 never.")
@click.option("--ema/--no-ema", default=None, help="Evaluate and keep a moving mean of the weights.")
@click.option("--mosaic/--no-mosaic", default=None, help="Put four images into one, half of the time.")
@click.option("--amp", is_flag=True, help="Compute in bfloat16: faster on GPUs and on CPUs that have it.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Repeat a run. [default: drawn, printed and stored]")
@click.option("--deterministic", is_flag=True, help="The same bits from the same seed on a GPU too; slower.")
@resume_option
@click.option(
    "--log",
    "services",
    multiple=True,
    type=click.Choice(["wandb", "mlflow"]),
    help="Send losses and metrics there too.",
)
@click.option("--no-report", is_flag=True, help="Leave out report.html.")
@trust_option
@data_only_option
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe or the config; repeatable."
)
def command(
    data: Path,
    model: str | None,
    weights: str | None,
    work_dir: Path | None,
    batch: int | Literal["auto"] | None,
    amp: bool,
    seed: int | None,
    deterministic: bool,
    resume: Literal["last", "auto"] | None,
    services: tuple[str, ...],
    no_report: bool,
    trust_file: bool,
    data_only: bool,
    overrides: tuple[str, ...],
    **flags: Any,
) -> None:
    """Train a detector on DATA, a folder in COCO, Pascal VOC or YOLO format.

    A recipe for the number of images is chosen and printed; every line of it can be changed. Weights are loaded as far
    as they fit, and what came of it is printed. docs/finetune.md explains recipes and weights.

    \b
    Examples:
      brs-detr finetune my_data
      brs-detr finetune my_data --model r50 --weights resnet50.pth --batch auto --amp
      brs-detr finetune my_data --weights work_dirs/traffic_r18 --epochs 20 --freeze 2
      brs-detr finetune my_data --set colour=False --set model.query_head.max_auxiliary_queries=100
    """
    from brs_detr.config.model_names import find_model
    from brs_detr.finetune.fine_tuning import default_tuning_dir, finetune

    if data_only and model is not None:
        require_shipped(find_model(model))
    work_dir = work_dir or default_tuning_dir(data, model)
    with resumable(work_dir):
        run = finetune(
            data,
            model,
            work_dir,
            weights=weights,
            batch=batch,
            settings={_SETTINGS.get(name, name): value for name, value in flags.items() if value is not None},
            overrides=overrides,
            resume=wants_to_resume(resume, work_dir),
            amp=amp,
            seed=seed,
            deterministic=deterministic,
            services=services,
            trust_file=trust_file,
        )
    conclude(run, with_report=not no_report)


_SETTINGS = {"lr": "learning_rate", "freeze": "frozen_stages"}
"""Names of settings whose options are called otherwise."""
