"""`brs-detr calibrate`: turn scores into probabilities."""

from __future__ import annotations

from pathlib import Path

import click

from brs_detr.cli.options import NumberRange, device_option, trust_option
from brs_detr.errors import UserError, shortened

FRACTION = NumberRange(0.001, 1)


@click.command("calibrate", short_help="Turn the scores of a checkpoint into probabilities.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Dataset. [default: that of the training]")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="val", show_default=True)
@click.option("--head", help="Head of the model: query, roi or atss. [default: as in the config]")
@click.option("--best-f1", is_flag=True, help="Set the threshold of each class to the one with the best F1.")
@click.option("--precision", type=FRACTION, help="Set the threshold of each class to the lowest with this precision.")
@click.option("--recall", type=FRACTION, help="Set the threshold of each class to the highest with this recall.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write. [default: the checkpoint itself]")
@device_option
@trust_option
def command(
    checkpoint: Path,
    data: Path | None,
    split: str,
    head: str | None,
    best_f1: bool,
    precision: float | None,
    recall: float | None,
    out: Path | None,
    device: str | None,
    trust_file: bool,
) -> None:
    """Fit a map from the scores of CHECKPOINT to probabilities, and store it in the checkpoint.

    A ranking loss learns the order of detections, not their probabilities. Annotated images show which fraction of the
    detections with a given score is right. After calibration, a score of 0.7 means that 7 of 10 such detections find
    an object of their class (IoU 0.5), in predict, serve and every exported file. `train` and `finetune` calibrate
    automatically; use this command for older and official checkpoints, for other images, or to set thresholds.

    Weights and AP do not change. By default, the threshold of every class is 0.5. See docs/scores.md.

    \b
    Examples:
      brs-detr calibrate work_dirs/traffic
      brs-detr calibrate work_dirs/traffic --precision 0.9       few false positives
      brs-detr calibrate work_dirs/traffic --recall 0.95         few misses
      brs-detr calibrate brs-detr-r50.safetensors --data data/coco
      brs-detr calibrate best.pth --data factory --split test --head atss --out best-atss.pth
    """
    from brs_detr.analysis.curves import Goal
    from brs_detr.evaluation.calibrate import calibrate
    from brs_detr.report.tables import ap_table
    from brs_detr.run.console import make_console

    goals = [Goal("F1")] * best_f1
    goals += [Goal("precision", precision)] if precision is not None else []
    goals += [Goal("recall", recall)] if recall is not None else []
    if len(goals) > 1:
        raise UserError(
            f"Thresholds cannot be chosen for {' and '.join(map(str, goals))} at the same time.", "Choose one of them."
        )
    console = make_console()
    result = calibrate(
        checkpoint,
        data,
        split,
        head=head,
        goal=goals[0] if goals else None,
        out=out,
        device=device,
        console=console,
        trust_file=trust_file,
    )
    if split == "train":
        console.print("The detector was trained on these images: on others, its scores will be too high.")
    calibration = result.calibration
    console.print(ap_table(result.class_rows))
    losses = ", ".join(f"{kind} {loss:.4f}" for kind, loss in result.held_out.items())
    console.print(f"Map: {calibration.kind} (log loss on held-out images: {losses or 'too few images'})")
    if result.thresholds is not None:
        names = result.evaluation.class_names
        if missed := [names[label] for label in result.thresholds.missed]:
            console.print(f"Cannot reach {calibration.goal}, closest threshold used: {shortened(missed)}")
        if pooled := [names[label] for label in result.thresholds.pooled]:
            console.print(f"Too few objects, threshold of all classes used: {shortened(pooled)}")
    console.print(f"Fitted to {calibration.num_images} images. Written to {result.path}")
