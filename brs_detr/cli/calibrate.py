"""`brs-detr calibrate`: give scores a meaning."""

from __future__ import annotations

from pathlib import Path

import click

from brs_detr.cli.number_range import NumberRange
from brs_detr.cli.trust import trust_option
from brs_detr.errors import UserError, shortened

SHARE = NumberRange(0.001, 1)


@click.command("calibrate", short_help="Make the scores of a checkpoint probabilities.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Data set. [default: that of the training]")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="val", show_default=True)
@click.option("--head", help="Head of the model: query, roi or atss. [default: the one its config names]")
@click.option("--best-f1", is_flag=True, help="Store the threshold of each class that has the best F1.")
@click.option("--precision", type=SHARE, help="Store the lowest threshold of each class that has this precision.")
@click.option("--recall", type=SHARE, help="Store the highest threshold of each class that has this recall.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write. [default: the checkpoint itself]")
@click.option("--device", help="cpu, cuda, cuda:1, ... [default: the GPU if there is one]")
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
    """Learn what the scores of CHECKPOINT mean, and store that in it.

    A ranking loss teaches which detection is surer, not how sure it is. On images with known objects it shows how many
    of the detections with some score are right. Afterwards a score of 0.7 means that 7 of 10 such detections find an
    object of their class (IoU 0.5), in predict, serve and every exported file. `train` and `finetune` do this by
    themselves; this command does it for older and for official checkpoints, for your own images, or for thresholds.

    Weights and AP stay as they are. Unless you say otherwise, every class is shown from 0.5 on. docs/scores.md tells
    more.

    \b
    Examples:
      brs-detr calibrate work_dirs/traffic
      brs-detr calibrate work_dirs/traffic --precision 0.9       few false alarms
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
            f"Thresholds cannot be chosen for {' and '.join(map(str, goals))} at once.", "Choose one of them."
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
        console.print("The detector has seen these images: on others its scores will promise too much.")
    calibration = result.calibration
    console.print(ap_table(result.class_rows))
    losses = ", ".join(f"{kind} {loss:.4f}" for kind, loss in result.held_out.items())
    console.print(f"Map: {calibration.kind} (log loss on held-out images: {losses or 'too few images'})")
    if result.thresholds is not None:
        names = result.evaluation.class_names
        if missed := [names[label] for label in result.thresholds.missed]:
            console.print(f"Cannot reach {calibration.goal}, nearest threshold taken: {shortened(missed)}")
        if pooled := [names[label] for label in result.thresholds.pooled]:
            console.print(f"Too few objects, threshold of all classes taken: {shortened(pooled)}")
    console.print(f"Learnt from {calibration.num_images} images. Written to {result.path}")
