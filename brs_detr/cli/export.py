"""`brs-detr export`: make a file that runs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brs_detr.cli.check import Size
from brs_detr.cli.trust import trust_option
from brs_detr.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from brs_detr.export.export import Exported

FORMAT_NAMES = ("onnx", "torch-export", "aoti", "torchscript", "safetensors")
PLACE = click.Choice(["inside", "beside"])


class FrameSize(Size):
    """Height and width in pixels, as in 480x640."""

    name = "HEIGHTxWIDTH"


@click.command("export", short_help="Make a file of a checkpoint that runs elsewhere.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--format", "format_name", type=click.Choice(FORMAT_NAMES), default="onnx", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="File to write. [default: in the run's folder]")
@click.option("--head", help="Head of the model: query, roi or atss. [default: the one its config names]")
@click.option("--dynamic/--static", default=None, help="Images of any size and number, or of one. [default: dynamic]")
@click.option("--size", type=FrameSize(), help="With --static: what images are fitted into. [default: as in testing]")
@click.option("--batch", type=click.IntRange(1), help="With --static: images at a time.  [default: 1]")
@click.option("--half", is_flag=True, help="Large products in float16; the same as --precision float16.")
@click.option("--precision", type=click.Choice(["float32", "float16", "bfloat16"]), help="[default: float32]")
@click.option(
    "--opset", type=click.IntRange(18, 23), default=18, show_default=True, help="Version of ONNX's operators."
)
@click.option("--preprocess", type=PLACE, help="Resize, normalise and pad. [default: inside of ONNX, else beside]")
@click.option("--postprocess", type=PLACE, default="inside", show_default=True, help="Choose the best detections.")
@click.option("--raw-scores", is_flag=True, help="Leave scores as they were trained, which are no probabilities.")
@click.option("--data", type=click.Path(path_type=Path), help="Compare AP on this data set, and pictures of it.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="[default: test, or val if there is none]")
@click.option("--overwrite", is_flag=True, help="Replace the file that is there.")
@trust_option
def command(
    checkpoint: Path,
    format_name: str,
    out: Path | None,
    head: str | None,
    dynamic: bool | None,
    size: tuple[int, int] | None,
    batch: int | None,
    half: bool,
    precision: str | None,
    opset: int,
    preprocess: str | None,
    postprocess: str,
    raw_scores: bool,
    data: Path | None,
    split: str | None,
    overwrite: bool,
    trust_file: bool,
) -> None:
    """Export one head of CHECKPOINT, and prove that the file finds what the model finds.

    The file is run on pictures of many sizes, alone and in batches. It stays only if every stage computes what the
    model computes, to within the model's own rounding, and every choice is the best of its candidates; the figures are
    printed and stored in it, with class names, thresholds and versions. docs/export.md tells which format is for what.

    \b
    Examples:
      brs-detr export work_dirs/traffic_r18                            ONNX with everything inside
      brs-detr export work_dirs/traffic_r18 --data traffic             AP of both is compared too
      brs-detr export best.pth --head atss --half --out atss.onnx
      brs-detr export best.pth --static --size 480x640 --batch 4 --preprocess beside
      brs-detr export best.pth --format torch-export
    """
    from brs_detr.checkpoints.checkpoint import read_checkpoint
    from brs_detr.export.describe import size_in_testing
    from brs_detr.export.export import ExportOptions, artefact_name, export
    from brs_detr.export.held_out import HeldOut
    from brs_detr.export.parity_images import synthetic_pictures
    from brs_detr.run.console import make_console
    from brs_detr.run.run_folder import folder_of

    if dynamic and (size or batch):
        raise click.UsageError("--size and --batch fix what --dynamic leaves open: give one or the other.")
    if half and precision not in (None, "float16"):
        raise click.UsageError(f"--half asks for float16, --precision for {precision}.")
    console = make_console()
    content = read_checkpoint(checkpoint, trust_file)
    is_static = dynamic is False or size is not None or batch is not None
    options = ExportOptions(
        format=format_name,
        head=head,
        preprocess=(preprocess or ("inside" if format_name == "onnx" else "beside")) == "inside",
        postprocess=postprocess == "inside",
        precision="float16" if half else precision or "float32",
        fixed_size=(size or size_in_testing(content)) if is_static else None,
        batch_size=(batch or 1) if is_static else None,
        opset=opset,
        raw_scores=raw_scores,
    )
    target = out or folder_of(content.path) / artefact_name(options)
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists already.", "Add --overwrite, or write elsewhere with --out FILE.")
    held_out = None if data is None else HeldOut.open(data, split, content.class_names, console)
    exported = export(
        content,
        target,
        options,
        [*synthetic_pictures(), *(held_out.pictures() if held_out else [])],
        measure_ap=held_out.measure_ap if held_out else None,
        console=console,
    )
    _report(exported, console)


def _report(exported: Exported, console: Console) -> None:
    figures = exported.info.parity
    if figures["stages"]:
        console.print(
            f"Compared with the model on {figures['pictures']} pictures: {figures['stages']} stages are the same up to "
            f"{figures['largest_share_of_bound']:.0%} of what rounding may do, {figures['choices']} choices are right."
        )
    else:
        console.print("Read again, every weight is that of the checkpoint.")
    console.print(
        f"Of {figures['detections']} detections {figures['matched']} agree, up to {figures['max_box_error_px']:.1g} px "
        f"and a score of {figures['max_score_error']:.1g}."
    )
    if figures["unmatched"]:
        console.print(f"  {figures['unmatched']} of both sides do not: scores are close there, and rounding decides.")
    if "AP_model" in figures:
        console.print(f"AP {figures['AP_artefact']:.4f}, of the model {figures['AP_model']:.4f}")
    info, size = exported.info, exported.path.stat().st_size / 2**20
    console.print(f"{info.head} head, {len(info.class_names)} classes, {info.precision}, {size:.1f} MiB")
    console.print(f"Written to {exported.path}")
