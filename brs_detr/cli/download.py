"""`brs-detr download`: download released weights."""

from __future__ import annotations

from pathlib import Path

import click

from brs_detr.cli.options import NumberRange


@click.command("download", short_help="Download released weights.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--list", "show", is_flag=True, help="List the weights and their addresses.")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), help="Folder. [default: ~/.cache/brs-detr/checkpoints]"
)
@click.option("--mirror", metavar="URL", help="Server folder that has the files. [default: $BRS_DETR_MIRROR]")
@click.option("--force", is_flag=True, help="Download again even if the file exists.")
@click.option(
    "--max-gb", type=NumberRange(0, min_open=True), default=10, show_default=True, help="Refuse files larger than this."
)
@click.option("--insecure", is_flag=True, help="Allow http even if no checksum is known.")
def command(
    names: tuple[str, ...],
    show: bool,
    folder: Path | None,
    mirror: str | None,
    force: bool,
    max_gb: float,
    insecure: bool,
) -> None:
    """Download the released weights NAME, and verify their checksum.

    A partial download is resumed. If no checksum is published, that of the first download is recorded beside the file,
    and later downloads are compared with it.

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
        checked = "as expected" if fetched.is_known else "recorded now, since none is published to compare with"
        console.print(f"{fetched.path}\n  SHA-256 {fetched.sha256}, {checked}")
        console.print(f"  Next: brs-detr convert-checkpoint {fetched.path} {fetched.path.with_suffix('.safetensors')}")
