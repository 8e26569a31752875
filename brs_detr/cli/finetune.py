"""`brs-detr finetune`: train on your own data by a recipe that fits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from brs_detr.cli.check import Size
from brs_detr.cli.train import TrainingCommand, conclude, resumable, training_options, wants_to_resume
from brs_detr.cli.trust import require_shipped

_SETTINGS = {
    "epochs": "epochs",
    "effective_batch": "effective_batch",
    "lr": "learning_rate",
    "resolution": "resolution",
    "freeze": "frozen_stages",
    "queries": "queries",
    "patience": "patience",
    "ema": "ema",
    "mosaic": "mosaic",
}
"""Setting of the recipe by the option that changes it."""


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
@click.option("--plan", is_flag=True, help="Print what would be done, and why, and exit without writing anything.")
@click.option("--epochs", type=click.IntRange(1), help="[default: by the number of images]")
@click.option("--batch", type=_Batch(), help="Images in memory at a time. [default: as the model says]")
@click.option("--effective-batch", type=click.IntRange(1), help="Images per step; batches are accumulated to reach it.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Learning rate; not scaled to the batch.")
@click.option("--resolution", type=Size(), help="Long and short side in pixels. [default: as the model says]")
@click.option("--freeze", type=click.IntRange(-1, 4), help="Stages of the backbone; 0 the stem, -1 nothing.")
@click.option("--queries", type=click.IntRange(1), help="Most objects in an image. [default: as the data need]")
@click.option("--patience", type=click.IntRange(0), help="Evaluations without a better AP to stop after; 0 never.")
@click.option("--ema/--no-ema", default=None, help="Evaluate and keep a moving mean of the weights.")
@click.option("--mosaic/--no-mosaic", default=None, help="Combine four images into one, half of the time.")
@training_options
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe or the config; repeatable."
)
def command(
    data: Path,
    model: str | None,
    work_dir: Path | None,
    plan: bool,
    resume: Literal["last", "auto"] | None,
    no_report: bool,
    data_only: bool,
    **options: Any,
) -> None:
    """Train a detector on DATA, a folder in COCO, Pascal VOC or YOLO format.

    A recipe for the number of images is chosen and printed; every line of it can be changed. Weights are loaded as far
    as they fit, and what fits is printed. docs/finetune.md explains recipes and weights.

    \b
    Examples:
      brs-detr finetune my_data --plan
      brs-detr finetune my_data
      brs-detr finetune my_data --model r50 --weights resnet50.pth --batch auto --amp
      brs-detr finetune my_data --weights work_dirs/traffic_r18 --epochs 20 --freeze 2
      brs-detr finetune my_data --set colour=False --set model.query_head.max_auxiliary_queries=100
    """
    from brs_detr.config.config import find_model
    from brs_detr.run.console import make_console
    from brs_detr.training.resolve import Request, print_plan
    from brs_detr.training.train import default_finetune_dir, start

    if data_only and model is not None:
        require_shipped(find_model(model))
    work_dir = work_dir or default_finetune_dir(data, model)
    settings = {name: options.pop(option) for option, name in _SETTINGS.items()}
    request = Request(
        model,
        data,
        work_dir,
        by_recipe=True,
        resume=wants_to_resume(resume, work_dir),
        settings={name: value for name, value in settings.items() if value is not None},
        **options,
    )
    if plan:
        print_plan(request, make_console())
        return
    with resumable(work_dir):
        run = start(request, make_console())
    conclude(run, with_report=not no_report)
