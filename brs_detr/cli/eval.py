"""`brs-detr eval`: measure a checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from brs_detr.cli.trust import trust_option


@click.command("eval", short_help="Measure the AP of a checkpoint.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Data set. [default: that of the training]")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="[default: test, or val if there is none]")
@click.option("--head", help="Head of the model: query, roi or atss. [default: the one its config names]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write. [default: eval_SPLIT in the run's folder]"
)
@click.option("--device", help="cpu, cuda, cuda:1, ... [default: the GPU if there is one]")
@trust_option
def command(
    checkpoint: Path,
    data: Path | None,
    split: str | None,
    head: str | None,
    out: Path | None,
    device: str | None,
    trust_file: bool,
) -> None:
    """Measure COCO AP of CHECKPOINT, overall and by class.

    Writes metrics.json, predictions.json (COCO results) and pictures.jpg (truth beside detections). Several GPUs share
    the images, where torchrun starts it.

    \b
    Examples:
      brs-detr eval work_dirs/traffic
      torchrun --nproc-per-node 8 -m brs_detr.cli eval work_dirs/traffic
      brs-detr eval best.pth --data traffic --split test --head atss
    """
    from brs_detr.engine.console import make_console
    from brs_detr.engine.distributed import is_first
    from brs_detr.engine.evaluate import evaluate
    from brs_detr.engine.evaluation_files import class_rows, write_evaluation
    from brs_detr.engine.run_folder import checkpoint_file, folder_of
    from brs_detr.report.table import ap_table

    console = make_console()
    evaluation = evaluate(checkpoint, data, split, head=head, device=device, console=console, trust_file=trust_file)
    if not is_first():
        return
    out = out or folder_of(checkpoint_file(checkpoint)) / "_".join(filter(None, ["eval", evaluation.split.name, head]))
    write_evaluation(evaluation, out)
    num_boxes = sum(row.num_boxes for row in evaluation.per_class)
    overall = {"AP": evaluation.metrics["AP"], "AP50": evaluation.metrics["AP50"], "boxes": num_boxes}
    console.print(ap_table(class_rows(evaluation), overall))
    measured = {name: value for name, value in evaluation.metrics.items() if value >= 0}
    console.print("  ".join(f"{name} {value:.3f}" for name, value in measured.items()))
    console.print(f"{evaluation.num_images} images in {evaluation.seconds:.1f} s. Written to {out}/")
