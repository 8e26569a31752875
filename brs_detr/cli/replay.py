"""`brs-detr replay`: repeat the step that stopped a training."""

from __future__ import annotations

from pathlib import Path

import click

from brs_detr.cli.options import trust_option


@click.command("replay", short_help="Repeat a failed training step and name the layer.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@trust_option
def command(file: Path, device: str, trust_file: bool) -> None:
    """Repeat the training step in FILE, which a training saves after too many steps with NaN or infinite values.

    Prints every loss, the first layer whose output is not finite, the parameters whose gradients are not, and the
    images. Weights, batch and random numbers are the same; only the device may differ.

    \b
    Example:
      brs-detr replay work_dirs/my_run/failed_step.pth
    """
    from brs_detr.checkpoints.checkpoint import find_device
    from brs_detr.errors import UserError, shortened
    from brs_detr.run.console import make_console
    from brs_detr.training.replay import replay

    if find_device(device).type not in ("cpu", "cuda"):
        raise UserError(f"A step can be repeated on cpu or cuda, not on {device}.")
    result = replay(file, device, trust_file=trust_file)
    console = make_console()
    lines = [f"Step {result.step}"]
    lines += [f"  image     {image}" for image in result.images]
    lines += [f"  {name:<18}{value:.6g}" for name, value in result.losses.items()]
    if result.weights:
        lines.append(f"  weights that are not finite: {shortened(result.weights)}")
    lines.append(f"  first layer with an output that is not finite: {result.first_layer or 'none'}")
    lines.append(f"  gradients that are not finite: {shortened(result.gradients) or 'none'}")
    if result.is_finite:
        lines.append("All numbers are finite on this device.")
    console.print("\n".join(lines))
