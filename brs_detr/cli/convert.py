"""`brs-detr convert`: other formats to COCO format."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("convert", short_help="Write a Pascal VOC data set in COCO format.")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--link", is_flag=True, help="Hard-link the images instead of copying them.")
@click.option("--overwrite", is_flag=True, help="Replace FOLDER when it is a data set already.")
def command(source: Path, folder: Path, link: bool, overwrite: bool) -> None:
    """Write the Pascal VOC data set SOURCE as a COCO-format data set FOLDER.

    Splits come from ImageSets/Main/{train,val,test}.txt, class names from the annotations. SOURCE is left as it is.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from brs_detr.data.voc import convert_voc

    console = Console()
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as bar:
        task = bar.add_task("images", total=None)
        conversion = convert_voc(
            source, folder, link, overwrite, lambda done, total: bar.update(task, completed=done, total=total)
        )
    for warning in conversion.warnings:
        console.print(f"[yellow]Dropped[/] {warning}", highlight=False)
    for name, split in conversion.splits.items():
        console.print(f"{name:<6}{split.num_images:>7} images {split.num_boxes:>8} boxes", highlight=False)
    console.print(f"Classes: {', '.join(conversion.class_names)}", markup=False, highlight=False)
    console.print(f"Pixels counted from {conversion.origin} in the source, from 0 in the result.", highlight=False)
    console.print(f"Written to {folder}. Next: brs-detr train CONFIG --data {folder}", markup=False, soft_wrap=True)
