"""`brs-detr check`: what is wrong with a data set."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import brs_detr

if TYPE_CHECKING:
    from rich.console import Console

    from brs_detr.data.checks.check import DataReport
    from brs_detr.data.writing.convert import Changes

_ERRORS_FOUND = 2


class Size(click.ParamType):
    """Two numbers of pixels, as in 1333x800, in either order."""

    name = "LONGxSHORT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The two numbers."""
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", str(value).strip(), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is no size such as 1333x800.", param, ctx)
        return int(match[1]), int(match[2])


@click.command("check", short_help="Find what is wrong with a data set, before training.")
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Where to write. [default: checks/NAME of the data]")
@click.option(
    "--size",
    type=Size(),
    default="1333x800",
    show_default=True,
    help="Largest long and short side that images are resized to for training; decides which boxes are tiny.",
)
@click.option("--fix", type=click.Path(path_type=Path), metavar="DIR", help="Write a mended copy in COCO format here.")
@click.option("--link", is_flag=True, help="With --fix: hard-link the images instead of copying them.")
@click.option("--allow-outside", is_flag=True, help="With --fix: copy files too that lie outside of DATA.")
def command(
    data: Path, out: Path | None, size: tuple[int, int], fix: Path | None, link: bool, allow_outside: bool
) -> None:
    """Check DATA, a folder in COCO, Pascal VOC or YOLO format: annotations, images, boxes, classes and splits.

    Prints what is wrong with examples and cures, and writes check.html, a page with drawn samples and histograms, and
    check.json. Exits with code 2 when there are errors, for which `brs-detr train` refuses the data in the same words.

    \b
    Examples:
      brs-detr check my_data
      brs-detr check my_data --size 448x256
      brs-detr check my_data --fix my_mended_data
    """
    from brs_detr.data.checks.check import check_source
    from brs_detr.data.formats.source import open_source
    from brs_detr.data.writing.convert import fix_source
    from brs_detr.report.check_page import class_table, findings_table, verdict, write_check
    from brs_detr.run.console import counter, make_console

    console = make_console()

    def check(folder: Path) -> DataReport:
        with counter("looking at images", console) as progress:
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
            console.print("Left in the copy, for you to decide:")
            console.print(findings_table(report))
        console.print(f"Written to {fix}. {verdict(report)}")
    if report.of_severity("error"):
        sys.exit(_ERRORS_FOUND)


def _print_changes(changes: Changes, console: Console) -> None:
    for split, done in changes.items():
        for what, count in done.items():
            console.print(f"{split:<6}{count:>7}  {what}")
    if not any(changes.values()):
        console.print("There was nothing to mend.")
