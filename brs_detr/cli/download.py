"""`brs-detr download`: released weights."""

from __future__ import annotations

from pathlib import Path

import click

from brs_detr.cli.number_range import NumberRange


@click.command("download", short_help="Fetch released weights.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "show", is_flag=True, help="Print what there is, and where.")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="[default: ~/.cache/brs-detr/checkpoints]")
@click.option("--mirror", metavar="URL", help="Folder that has the files. [default: $BRS_DETR_MIRROR]")
@click.option("--force", is_flag=True, help="Fetch a file again that is there.")
@click.option(
    "--max-gb", type=NumberRange(0, min_open=True), default=10, show_default=True, help="Refuse larger files."
)
@click.option("--insecure", is_flag=True, help="Take a file from an http address although no checksum is known.")
def command(
    names: tuple[str, ...],
    show: bool,
    folder: Path | None,
    mirror: str | None,
    force: bool,
    max_gb: float,
    insecure: bool,
) -> None:
    """Fetch the released weights NAME, and compare their checksum.

    A download that was cut goes on where it stopped. Where no checksum is published, that of the first download is
    recorded beside the file, and later ones are compared with it.

    \b
    Examples:
      brs-detr download --list
      brs-detr download brs-co-deformable-detr_r50_8xb2-12e_coco_official
      brs-detr download co-deformable-detr_r50_8xb2-12e_coco_official --to weights --mirror https://mirror.example/brs
    """
    from brs_detr.checkpoints.checkpoint_index import fetch, find_entry, read_index
    from brs_detr.run.console import make_console

    console = make_console()
    if show or not names:
        for entry in read_index().values():
            console.print(f"{entry.name}\n  {entry.what}: {entry.paper_ap} AP ({entry.source})")
            console.print(f"  {entry.file_name}, licence {entry.licence}, {entry.url}")
        return
    for entry in [find_entry(name) for name in names]:
        fetched = fetch(
            entry.name,
            folder=folder,
            mirror=mirror,
            force=force,
            most_bytes=int(max_gb * 1e9),
            insecure=insecure,
            console=console,
        )
        checked = "as expected" if fetched.is_known else "recorded now: nobody has published one to compare it with"
        console.print(f"{fetched.path}\n  SHA-256 {fetched.sha256}, {checked}")
        console.print(f"  Next: brs-detr convert-checkpoint {fetched.path} {fetched.path.with_suffix('.safetensors')}")
