"""`brs-detr replay`: repeat the step that ended a training."""

from __future__ import annotations

from pathlib import Path

import click

from brs_detr.cli.trust import trust_option


@click.command("replay", short_help="Repeat a training step that failed, and name the layer.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@trust_option
def command(file: Path, device: str, trust_file: bool) -> None:
    """Repeat the step in FILE, which a training left when its numbers were not finite for several steps in a row.

    Prints every loss, the first layer whose output is not finite, the parameters whose gradient is not, and the images.
    The same weights, batch and random numbers are used; only the device may differ.

    \b
    Example:
      brs-detr replay work_dirs/my_run/failed_step.pth
    """
    from brs_detr.checkpoints.checkpoint import find_device
    from brs_detr.errors import UserError, shortened
    from brs_detr.run.console import make_console
    from brs_detr.training.replay import replay

    if find_device(device).type not in ("cpu", "cuda"):
        raise UserError(f"A step is repeated on cpu or cuda, not on {device}.")
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
