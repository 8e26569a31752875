"""`brs-detr export`: make a file that runs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brs_detr.cli.check import Size
from brs_detr.cli.trust import trust_option

if TYPE_CHECKING:
    from rich.console import Console

    from brs_detr.exporting.export import Exported

FORMAT_NAMES = ("onnx", "torch-export", "aoti", "torchscript")
PLACE = click.Choice(["inside", "beside"])


class ImageSize(Size):
    """Height and width in pixels, as in 480x640."""

    name = "HEIGHTxWIDTH"


class _Format(click.Choice[str]):
    """One of `FORMAT_NAMES`; `safetensors`, which was one of them, is a checkpoint and has a command of its own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if str(value) == "safetensors":
            self.fail("write it with `brs-detr convert-checkpoint RUN OUT.safetensors`.", param, ctx)
        return super().convert(value, param, ctx)


def _removed(name: str, instead: str) -> Any:
    """A hidden option that is no more: says what to write instead."""

    def refuse(ctx: click.Context, param: click.Parameter, is_given: bool) -> None:
        if is_given:
            raise click.UsageError(f"There is no option {name} any more: {instead}.", ctx)

    return click.option(name, is_flag=True, hidden=True, expose_value=False, is_eager=True, callback=refuse)


@click.command("export", short_help="Make a file of a checkpoint that runs elsewhere.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--format", type=_Format(FORMAT_NAMES), default="onnx", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="File to write. [default: in the run's folder]")
@click.option("--head", help="Head of the model: query, roi or atss. [default: the one its config names]")
@click.option("--static", is_flag=True, help="Take images of one size and number. [default: any size and number]")
@click.option(
    "--size", "fixed_size", type=ImageSize(), help="Static: size to fit images into. [default: as in testing]"
)
@click.option("--batch", "batch_size", type=click.IntRange(1), help="Static: images at a time. [default: 1]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Precision of convolutions and matrix products.",
)
@click.option(
    "--opset", type=click.IntRange(18, 23), default=18, show_default=True, help="Version of ONNX's operators."
)
@click.option("--preprocess", type=PLACE, help="Resize, normalise and pad. [default: inside of ONNX, else beside]")
@click.option("--postprocess", type=PLACE, default="inside", show_default=True, help="Choose the best detections.")
@click.option("--raw-scores", is_flag=True, help="Leave scores as they were trained; they are no probabilities.")
@click.option("--data", type=click.Path(path_type=Path), help="Compare AP on this data set, and images of it.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="[default: test, or val if there is none]")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@trust_option
@_removed("--half", "use --precision float16")
@_removed("--dynamic", "it is the default, leave it out")
def command(
    checkpoint: Path, out: Path | None, preprocess: str | None, postprocess: str, raw_scores: bool, **options: Any
) -> None:
    """Export one head of CHECKPOINT, and prove that the file computes what the model computes.

    The file is run on images of many sizes, alone and in batches. It is kept only if every stage is within the model's
    own rounding of the model, and every choice is the best of its candidates. The figures are printed and stored in the
    file, with class names, thresholds and versions. docs/export.md tells which format is for what.

    \b
    Examples:
      brs-detr export work_dirs/traffic_r18                            ONNX with everything inside
      brs-detr export work_dirs/traffic_r18 --data traffic             AP of both is compared too
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
        f"Compared with the model on {figures['pictures']} images: {figures['stages']} stages are the same up to "
        f"{figures['largest_share_of_bound']:.0%} of what rounding may do, {figures['choices']} choices are right."
    )
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
