"""`brs-detr doctor`: what works here, what does not, and the cure."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from brs_detr.ops.installation import Check

_COLOURS = {"ok": "green", "note": "yellow", "fault": "bold red"}


@click.command("doctor", short_help="Check the installation, and name the cure for each fault.")
def command() -> None:
    """Check the installation, every operator and one training step, and name the cure for each fault.

    Exits with 0 when a detector can be trained here, with 1 when something is broken.
    """
    from brs_detr.engine.console import make_console
    from brs_detr.ops.installation import check_installation, installed_versions

    console = make_console(markup=True)
    _print_table(console, "Versions", [("Python", sys.version.split()[0]), *installed_versions().items()])
    checks = check_installation()
    _print_checks(console, "Installation", checks)
    if not _faults(checks):
        from brs_detr.ops import implementations

        _print_table(console, "Operators", implementations())
        tests = [check for device in _devices() for check in self_test(device)]
        _print_checks(console, "Self-tests", tests)
        checks += tests
    faults = _faults(checks)
    broken = ", ".join(check.name for check in faults)
    console.print(f"[bold red]Broken: {broken}." if faults else "[green]Everything works.")
    sys.exit(1 if faults else 0)


def self_test(device: str) -> list[Check]:
    """Run every operator and one training step on ``cpu`` or ``cuda``."""
    from brs_detr.ops.installation import Check
    from brs_detr.ops.selftest import run_self_tests
    from brs_detr.platform import prepare

    cure = "Reinstall brs-detr and its dependencies in a new environment; if this stays, report this line."
    checks = []
    prepare()
    for test in run_self_tests(device):
        name, duration = f"{test.op} ({device})", f"{1000 * test.seconds:.0f} ms"
        checks.append(Check(name, "fault", test.error, cure) if test.error else Check(name, "ok", duration))
    name, start = f"training step ({device})", time.perf_counter()
    try:
        training_step(device)
    except Exception as error:  # whatever is wrong with an installation is the result, not an accident
        return [*checks, Check(name, "fault", f"{type(error).__name__}: {error}".splitlines()[0], cure)]
    return [*checks, Check(name, "ok", f"{1000 * (time.perf_counter() - start):.0f} ms")]


def training_step(device: str) -> None:
    """Take one optimiser step with the small BRS-DETR on a made-up image.

    Raises:
        ValueError: the loss or a gradient is not finite.
    """
    import torch

    from brs_detr.engine.config import load_config
    from brs_detr.engine.random_model import random_model

    model = random_model(load_config("brs-co-deformable-detr_r18_1xb4-12e_coco")).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    data = model.data_preprocessor(_one_image(), training=True)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not all(tensor.isfinite().all() for tensor in (loss, *gradients)):
        raise ValueError(f"the loss ({loss.item()}) or a gradient is not finite")
    optimizer.step()


def _one_image() -> dict[str, list[Any]]:
    """A batch of one grey 128 x 128 image with one object, as a data loader would deliver it."""
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    size = (128, 128)
    sample = DetDataSample(metainfo={"img_id": 0, "img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)})
    boxes_xyxy = torch.tensor([[16.0, 16.0, 80.0, 96.0]])
    sample.gt_instances = InstanceData(bboxes=boxes_xyxy, labels=torch.tensor([0]))
    return {"inputs": [torch.full((3, *size), 128, dtype=torch.uint8)], "data_samples": [sample]}


def _devices() -> list[str]:
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _faults(checks: Iterable[Check]) -> list[Check]:
    return [check for check in checks if check.status == "fault"]


def _print_checks(console: Console, title: str, checks: Sequence[Check]) -> None:
    """Print one row for each check, then the cure for each that is not ok."""
    from rich.text import Text

    rows = [(Text(check.status, _COLOURS[check.status]), check.name, check.detail) for check in checks]
    _print_table(console, title, rows)
    for check in checks:
        if check.status != "ok" and check.cure:
            console.print(Text(f"Cure for {check.name}: {check.cure}", "bold"), soft_wrap=True)


def _print_table(console: Console, title: str, rows: Iterable[Sequence[str | Text]]) -> None:
    """Print rows under a title, framed in a terminal and as plain columns elsewhere."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title, title_justify="left", show_header=False, box=box.ROUNDED if console.is_terminal else None
    )
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console.print(table)
