"""`brs-detr eval`: measure the AP of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brs_detr.cli.options import device_option, trust_option

if TYPE_CHECKING:
    from rich.console import Console

    from brs_detr.checkpoints.checkpoint import Checkpoint
    from brs_detr.evaluation.evaluate import Evaluation


@click.command("eval", short_help="Measure the AP of a checkpoint.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Dataset. [default: that of the training]")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="[default: test, or val without one]")
@click.option("--head", help="Head of the model: query, roi or atss. [default: as in the config]")
@click.option("--out", type=click.Path(path_type=Path), help="Output folder. [default: eval_SPLIT in the run folder]")
@click.option("--calibration", is_flag=True, help="Also measure the calibration of raw and calibrated scores.")
@device_option
@trust_option
def command(
    checkpoint: Path,
    data: Path | None,
    split: str | None,
    head: str | None,
    out: Path | None,
    calibration: bool,
    device: str | None,
    trust_file: bool,
) -> None:
    """Measure the COCO AP of CHECKPOINT, overall and by class.

    Writes metrics.json, predictions.json (COCO results) and pictures.jpg (ground truth beside detections). Under
    torchrun, several GPUs share the images. --calibration adds calibration.json and calibration.png: how often
    detections with a given score are right, and how many the threshold keeps.

    \b
    Examples:
      brs-detr eval work_dirs/traffic
      torchrun --nproc-per-node 8 -m brs_detr.cli eval work_dirs/traffic
      brs-detr eval best.pth --data traffic --split test --head atss
      brs-detr eval work_dirs/traffic --calibration
    """
    from brs_detr.checkpoints.checkpoint import read_checkpoint
    from brs_detr.evaluation.evaluate import class_rows, evaluate, write_evaluation
    from brs_detr.report.tables import ap_table
    from brs_detr.run.console import make_console
    from brs_detr.run.distributed import is_first
    from brs_detr.run.run_folder import checkpoint_file, folder_of

    console = make_console()
    content = read_checkpoint(checkpoint, trust_file)
    evaluation = evaluate(content, data, split, head=head, device=device, console=console)
    if not is_first():
        return
    out = out or folder_of(checkpoint_file(checkpoint)) / "_".join(filter(None, ["eval", evaluation.split.name, head]))
    write_evaluation(evaluation, out)
    num_boxes = sum(row.num_boxes for row in evaluation.per_class)
    overall = {"AP": evaluation.metrics["AP"], "AP50": evaluation.metrics["AP50"], "boxes": num_boxes}
    console.print(ap_table(class_rows(evaluation), overall))
    measured = {name: value for name, value in evaluation.metrics.items() if value >= 0}
    console.print("  ".join(f"{name} {value:.3f}" for name, value in measured.items()))
    if calibration:
        _measure_scores(evaluation, content, head, out, console)
    console.print(f"{evaluation.num_images} images in {evaluation.seconds:.1f} s. Written to {out}/")


def _measure_scores(
    evaluation: Evaluation, checkpoint: Checkpoint, head: str | None, out: Path, console: Console
) -> None:
    from brs_detr.evaluation.calibrate import measure_calibration, write_calibration
    from brs_detr.report.tables import calibration_table

    measured = measure_calibration(evaluation, checkpoint, head)
    write_calibration(measured, evaluation, out)
    console.print(calibration_table(measured.raw, measured.calibrated))
    if measured.calibrated is None:
        console.print(
            f"The scores of the head {measured.head} are not probabilities yet: "
            f"brs-detr calibrate {checkpoint.path}{f' --head {head}' if head else ''}",
            markup=False,
            soft_wrap=True,
        )
