"""`brs-detr check`: find problems in a dataset."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import brs_detr
from brs_detr.cli.options import Size

if TYPE_CHECKING:
    from rich.console import Console

    from brs_detr.data.checks.check import DataReport
    from brs_detr.data.writing.convert import Changes

_ERRORS_FOUND = 2


@click.command("check", short_help="Find problems in a dataset before training.")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Output folder. [default: checks/NAME of the data]")
@click.option(
    "--size",
    type=Size(),
    default="1333x800",
    show_default=True,
    help="Largest image size in training; decides which boxes are reported as tiny.",
)
@click.option("--fix", type=click.Path(path_type=Path), metavar="DIR", help="Write a repaired copy in COCO format.")
@click.option("--link", is_flag=True, help="With --fix: hard-link the images instead of copying them.")
@click.option("--allow-outside", is_flag=True, help="With --fix: also copy files from outside DATA.")
def command(
    data: Path, out: Path | None, size: tuple[int, int], fix: Path | None, link: bool, allow_outside: bool
) -> None:
    """Check the dataset DATA, in COCO, Pascal VOC or YOLO format: annotations, images, boxes, classes and splits.

    Prints each problem with examples and a fix, and writes check.html, a page with drawn samples and histograms, and
    check.json. Exits with code 2 if there are errors, with which `brs-detr train` would refuse the data.

    \b
    Examples:
      brs-detr check my_data
      brs-detr check my_data --size 448x256
      brs-detr check my_data --fix my_fixed_data
    """
    from brs_detr.data.checks.check import check_source
    from brs_detr.data.formats.source import open_source
    from brs_detr.data.writing.convert import fix_source
    from brs_detr.report.check_page import class_table, findings_table, verdict, write_check
    from brs_detr.run.console import counter, make_console

    console = make_console()

    def check(folder: Path) -> DataReport:
        with counter("checking images", console) as progress:
            return check_source(open_source(folder), resized_to=size, progress=progress)

    report = check(data)
    out = out or Path("checks") / (report.source.folder.resolve().name or "data")
    page = write_check(report, out, brs_detr.__version__)
    if report.placed_findings:
        console.print(findings_table(report))
    console.print(class_table(report))
    console.print(f"Page: {page}")
    console.print(verdict(report))
    if fix is not None:
        _print_changes(fix_source(report, fix, link, allow_outside), console)
        report = check(fix)
        if report.placed_findings:
            console.print("Not fixed in the copy, because you have to decide:")
            console.print(findings_table(report))
        console.print(f"Written to {fix}. {verdict(report)}")
    if report.of_severity("error"):
        sys.exit(_ERRORS_FOUND)


def _print_changes(changes: Changes, console: Console) -> None:
    for split, done in changes.items():
        for what, count in done.items():
            console.print(f"{split:<6}{count:>7}  {what}")
    if not any(changes.values()):
        console.print("There was nothing to fix.")
