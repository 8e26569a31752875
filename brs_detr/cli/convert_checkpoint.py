"""`brs-detr convert-checkpoint`: convert released weights to a checkpoint of this package."""

from __future__ import annotations

import csv
from pathlib import Path

import click

from brs_detr.cli.options import data_only_option, require_shipped, trust_option
from brs_detr.errors import UserError


@click.command("convert-checkpoint", short_help="Convert official weights to a checkpoint of this package.")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--class-names",
    metavar="A,B,...",
    help="Class names in the order of the labels; quote those that contain a comma. [default: the file's, or COCO's]",
)
@click.option("--config", help="Config of the weights. A file is a program, which runs. [default: recognised]")
@click.option("--dry-run", is_flag=True, help="Print what would be converted and write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@trust_option
@data_only_option
def command(
    source: Path,
    out: Path,
    class_names: str | None,
    config: str | None,
    dry_run: bool,
    overwrite: bool,
    trust_file: bool,
    data_only: bool,
) -> None:
    """Write the weights SOURCE as the checkpoint OUT, a .safetensors file.

    SOURCE is a run folder or a checkpoint of this package, which OUT contains without a pickle; an official checkpoint
    of BRS-DETR or Co-DETR (mmdet 2; R-50, Swin-T or Swin-L); or a ResNet-50 or Swin backbone as torchvision, timm or
    its authors release it. OUT also contains class names and config, and every command accepts it. If a tensor is
    missing or belongs to nothing, nothing is written.

    \b
    Examples:
      brs-detr convert-checkpoint work_dirs/traffic traffic.safetensors
      brs-detr convert-checkpoint brs_detr_r50.pth brs-detr-r50.safetensors
      brs-detr convert-checkpoint mine.pth mine.safetensors --class-names cat,dog
      brs-detr convert-checkpoint swin_tiny_patch4_window7_224.pth swin-t.safetensors --dry-run
    """
    from brs_detr.checkpoints.convert_checkpoint import convert_checkpoint
    from brs_detr.checkpoints.load_weights import load_table
    from brs_detr.run.console import make_console

    if data_only and config is not None:
        require_shipped(config)
    console = make_console()
    if not (class_names or config or dry_run) and _rewrite(source, out, overwrite, trust_file):
        console.print(f"Written to {out}. Next: brs-detr predict {out} IMAGES")
        return
    names = next(csv.reader([class_names], skipinitialspace=True)) if class_names else []
    conversion = convert_checkpoint(
        source,
        out,
        class_names=tuple(map(str.strip, names)),
        config=config,
        overwrite=overwrite,
        dry_run=dry_run,
        trust_file=trust_file,
    )
    num_classes = conversion.recognised.num_classes
    what = "backbone of" if num_classes is None else f"detector of {num_classes} classes,"
    console.print(f"{source}: {what} {conversion.recognised.config}")
    console.print(load_table(conversion.account))
    for name in (*conversion.account.missing, *conversion.account.unused):
        console.print(f"  {name}: not needed by a detector, or computed by it")
    if dry_run:
        console.print("Nothing was written.")
    elif num_classes is None:
        console.print(f"Written to {out}. Next: brs-detr finetune DATA --weights {out}")
    else:
        console.print(f"Written to {out}. Next: brs-detr eval {out} --data data/coco --split val")


def _rewrite(source: Path, out: Path, overwrite: bool, trust_file: bool) -> bool:
    """Write a checkpoint of this package without its pickle; return False if `source` is something else."""
    from brs_detr.checkpoints.checkpoint import read_checkpoint
    from brs_detr.checkpoints.convert_checkpoint import require_writable
    from brs_detr.checkpoints.plain_file import write_safetensors

    try:
        content = read_checkpoint(source, trust_file)
    except UserError:
        if source.is_dir():
            raise
        return False
    require_writable(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(out, content.state_dict, content.meta)
    return True
