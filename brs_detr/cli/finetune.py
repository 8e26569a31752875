"""`brs-detr finetune`: train on your own data with a suitable recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from brs_detr.cli.options import Size, require_shipped
from brs_detr.cli.train import TrainingCommand, conclude, resumable, training_options, wants_to_resume

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
"""Settings of the recipe by the options that change them."""


class _Batch(click.ParamType):
    """A number of images, or `auto`."""

    name = "N|auto"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["auto"]:
        """Parse the number, or `auto`."""
        text = str(value).strip().lower()
        if text == "auto":
            return "auto"
        if not text.isdecimal() or int(text) == 0:
            self.fail(f"{value!r} is neither a number of images nor auto.", param, ctx)
        return int(text)


@click.command("finetune", cls=TrainingCommand, short_help="Train on your own data with a suitable recipe.")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--model",
    help="r18, lite0, r50, swin-t, swin-l, co-r50, ..., or a config; a config file is a program that runs. "
    "[default: r50 with a GPU, r18 without]",
)
@click.option("--weights", metavar="FILE|NAME|none", help="Weights to start from. [default: those of the model]")
@click.option("--work-dir", type=click.Path(path_type=Path), help="Run folder. [default: work_dirs/DATA_MODEL]")
@click.option("--plan", is_flag=True, help="Print what would be done, and why, without writing anything.")
@click.option("--epochs", type=click.IntRange(1), help="Number of epochs. [default: by the number of images]")
@click.option("--batch", type=_Batch(), help="Images per process and batch. [default: as in the config]")
@click.option("--effective-batch", type=click.IntRange(1), help="Images per step, reached by accumulating batches.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Learning rate, not scaled to the batch.")
@click.option("--resolution", type=Size(), help="Long and short side of images. [default: as in the config]")
@click.option("--freeze", type=click.IntRange(-1, 4), help="Backbone stages to freeze; 0 only the stem, -1 nothing.")
@click.option("--queries", type=click.IntRange(1), help="Most objects per image. [default: by the data]")
@click.option("--patience", type=click.IntRange(0), help="Stop after so many evaluations without a better AP; 0 never.")
@click.option("--ema/--no-ema", default=None, help="Evaluate and keep a moving average of the weights.")
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
    """Train a detector on the dataset DATA, in COCO, Pascal VOC or YOLO format.

    A recipe for the number of images is chosen and printed; every setting of it can be changed. Weights that fit the
    model are loaded, and a table shows which. docs/finetune.md explains recipes and weights.

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
    work_dir = work_dir or default_finetune_dir(data, model, options["loss"])
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
