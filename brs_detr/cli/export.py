"""`brs-detr export`: export a checkpoint to a file that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brs_detr.cli.options import Size, trust_option

if TYPE_CHECKING:
    from rich.console import Console

    from brs_detr.exporting.export import Exported

FORMAT_NAMES = ("onnx", "torch-export", "aoti", "torchscript")
PLACE = click.Choice(["inside", "beside"])


class ImageSize(Size):
    """Height and width in pixels, as in 480x640."""

    name = "HEIGHTxWIDTH"


class _Format(click.Choice[str]):
    """One of `FORMAT_NAMES`. For the former format `safetensors`, the error names the command that replaces it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if str(value) == "safetensors":
            self.fail("write it with `brs-detr convert-checkpoint RUN OUT.safetensors`.", param, ctx)
        return super().convert(value, param, ctx)


def _removed(name: str, instead: str) -> Any:
    """Make a hidden option that was removed; its error says what to use instead."""

    def refuse(ctx: click.Context, param: click.Parameter, is_given: bool) -> None:
        if is_given:
            raise click.UsageError(f"The option {name} was removed: {instead}.", ctx)

    return click.option(name, is_flag=True, hidden=True, expose_value=False, is_eager=True, callback=refuse)


@click.command("export", short_help="Export a checkpoint to a file that runs elsewhere.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--format", type=_Format(FORMAT_NAMES), default="onnx", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="File to write. [default: in the run's folder]")
@click.option("--head", help="Head of the model: query, roi or atss. [default: that of its config]")
@click.option("--static", is_flag=True, help="Fix the image size and batch size. [default: any]")
@click.option("--size", "fixed_size", type=ImageSize(), help="With --static: image size. [default: that of evaluation]")
@click.option("--batch", "batch_size", type=click.IntRange(1), help="With --static: batch size. [default: 1]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Precision of convolutions and matrix products.",
)
@click.option("--opset", type=click.IntRange(18, 23), default=18, show_default=True, help="ONNX opset version.")
@click.option(
    "--preprocess",
    type=PLACE,
    help="Resize, normalise and pad inside the file or beside it. [default: inside for ONNX, else beside]",
)
@click.option(
    "--postprocess",
    type=PLACE,
    default="inside",
    show_default=True,
    help="Select the best detections inside the file or beside it.",
)
@click.option("--raw-scores", is_flag=True, help="Leave scores as trained; they are not probabilities.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Compare AP on this dataset, and use its images for verification."
)
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="[default: test, or val if there is none]")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@trust_option
@_removed("--half", "use --precision float16")
@_removed("--dynamic", "it is the default, leave it out")
def command(
    checkpoint: Path, out: Path | None, preprocess: str | None, postprocess: str, raw_scores: bool, **options: Any
) -> None:
    """Export one head of CHECKPOINT, and verify that the file computes what the model computes.

    Runs the file on images of many sizes, one by one and in batches. Keeps it only if every stage agrees with the model
    within rounding, and every selection takes the best candidates. Prints the measured differences and stores them in
    the file, with class names, thresholds and versions. docs/export.md says which format to use.

    \b
    Examples:
      brs-detr export work_dirs/traffic_r18                            ONNX with everything inside
      brs-detr export work_dirs/traffic_r18 --data traffic             compare AP too
      brs-detr export best.pth --head atss --precision float16 --out atss.onnx
      brs-detr export best.pth --static --size 480x640 --batch 4 --preprocess beside
      brs-detr export best.pth --format torch-export
    """
    from brs_detr.exporting.export import export
    from brs_detr.run.console import make_console

    console = make_console()
    exported = export(
        checkpoint,
        out,
        preprocess=None if preprocess is None else preprocess == "inside",
        postprocess=postprocess == "inside",
        raw_scores=raw_scores,
        console=console,
        **options,
    )
    _report(exported, console)


def _report(exported: Exported, console: Console) -> None:
    figures = exported.info.parity
    console.print(
        f"Compared with the model on {figures['pictures']} images: {figures['stages']} stages differ by at most "
        f"{figures['largest_share_of_bound']:.0%} of the bound for rounding, {figures['choices']} selections are right."
    )
    console.print(
        f"{figures['matched']} of {figures['detections']} detections agree, within {figures['max_box_error_px']:.1g} px"
        f" and a score of {figures['max_score_error']:.1g}."
    )
    if figures["unmatched"]:
        console.print(f"  {figures['unmatched']} on either side do not: their scores are close, and rounding decides.")
    if "AP_model" in figures:
        console.print(f"AP {figures['AP_artefact']:.4f}, of the model {figures['AP_model']:.4f}")
    info, size = exported.info, exported.path.stat().st_size / 2**20
    console.print(f"{info.head} head, {len(info.class_names)} classes, {info.precision}, {size:.1f} MiB")
    console.print(f"Written to {exported.path}")
