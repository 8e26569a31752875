"""`brs-detr convert`: convert a dataset to COCO format."""

from __future__ import annotations

from pathlib import Path

import click

from brs_detr.errors import shortened


@click.command("convert", short_help="Convert a YOLO or Pascal VOC dataset to COCO format.")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--link", is_flag=True, help="Hard-link the images instead of copying them.")
@click.option("--overwrite", is_flag=True, help="Replace FOLDER if it already holds a dataset.")
@click.option("--allow-outside", is_flag=True, help="Also copy or link files from outside SOURCE.")
def command(source: Path, folder: Path, link: bool, overwrite: bool, allow_outside: bool) -> None:
    """Convert the dataset SOURCE to COCO format, and write it to FOLDER.

    SOURCE is a folder in YOLO, Pascal VOC or COCO format, or the file that describes it, such as data.yaml. It is not
    changed. Training reads all of these formats without conversion.

    \b
    Examples:
      brs-detr convert VOC2012 my-data
      brs-detr convert yolo/data.yaml my-data --link
    """
    from rich.progress import MofNCompleteColumn, Progress

    from brs_detr.data.writing.convert import convert
    from brs_detr.run.console import make_console

    console = make_console()
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as bar:
        task = bar.add_task("checking and copying", total=None)
        conversion = convert(
            source,
            folder,
            link,
            overwrite,
            lambda done, total: bar.update(task, completed=done, total=total),
            allow_outside,
        )
    for finding in conversion.findings:
        console.print(f"{finding.kind.severity}: {finding}. {finding.kind.cure}")
    for name, split in conversion.splits.items():
        console.print(f"{name:<6}{split.num_images:>7} images {split.num_boxes:>8} boxes")
    console.print(f"{conversion.format}, classes: {shortened(conversion.class_names, 50)}")
    console.print(f"Written to {folder}. Next: brs-detr train CONFIG --data {folder}")
